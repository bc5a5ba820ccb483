// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "proxy/discovery/discovery.h"
#include "proxy/listen/agent_link.h"
#include "proxy/listen/worker_lane.h"
#include "proxy/program/ceilings.h"
#include "proxy/program/drain.h"
#include "proxy/program/options.h"
#include "proxy/program/pod_guard.h"
#include "proxy/program/pod_metrics.h"
#include "proxy/telemetry/admin.h"
#include "proxy/tls/certificates.h"

namespace heddle::proxy {

// All of heddle-proxy behind its command line: workers on threads of their own, the agent's link and signals
// on the calling thread.
class NodeProxy final : private LinkObserver {
 public:
  explicit NodeProxy(ProgramOptions options);
  ~NodeProxy();

  // Opens and starts everything; privileges were dropped before. `signals`: a signalfd of SIGTERM and SIGINT.
  Result<> start(Fd signals);
  // Until drained. The number of connections that had to be cut.
  std::size_t run();
  // Whether a signal was among the reasons to drain; otherwise the agent has another proxy.
  bool stopped_by_signal() const { return stopped_by_signal_; }

 private:
  struct WorkerThread {
    explicit WorkerThread(unsigned index, const Settings& settings) : worker(index, settings) {}
    Worker worker;
    std::unique_ptr<WorkerLane> lane;
    std::thread thread;
  };
  struct SignalHandler final : IoHandler {
    NodeProxy* proxy = nullptr;
    void on_io(std::uint32_t) override { proxy->signalled(); }
  };

  Result<> open_stores();
  void make_worker(unsigned index);
  Result<> start_admin();
  void start_guard();
  void signalled();
  void begin_drain(std::chrono::milliseconds grace, std::chrono::milliseconds idle,
                   AgentLink::Listeners listeners);
  void prepared_too_late();
  void end_preparing();
  void end(std::size_t connections_cut);
  void drained(std::size_t connections_cut);
  void take_leave();
  void leave_without_answer();
  void stay_for_listeners();
  std::string state_json() const;

  void pod_upserted(const PodRef& pod) override;
  void pod_removed(const PodRef& pod) override;
  void certificate(AgentCertificate certificate) override;
  void agent_ready() override;
  void prepare(std::function<void()> prepared) override;
  void snapshot_served() override;
  void drain(std::chrono::seconds grace) override;
  void agent_holds() override;

  // Made in this order, destroyed in reverse.
  const ProgramOptions options_;
  Loop loop_;
  Readiness readiness_;
  Ceilings ceilings_;
  PodMetrics pod_metrics_;
  MetricsRegistry registry_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<AgentLink> link_;
  std::unique_ptr<PodGuard> guard_;
  std::unique_ptr<tls::CertificateStore> certificates_;
  std::unique_ptr<Discovery> discovery_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::unique_ptr<Drain> drain_;
  std::unique_ptr<AdminServer> admin_;
  std::function<void()> prepared_;  // of prepare(), until it was called
  Timer prepare_timer_;
  Fd signals_;
  SignalHandler signal_handler_;
  std::size_t connections_cut_ = 0;
  std::optional<std::size_t> waiting_to_end_;  // drained, for an agent's word: connections that were cut
  Timer leave_timer_;                          // when an agent that does not answer is no longer waited for
  bool stopped_by_signal_ = false;
};

}  // namespace heddle::proxy
