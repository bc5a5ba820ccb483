// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/io/unix_message.h"
#include "proxy/io/loop.h"
#include "proxy/listen/lane.h"
#include "proxy/listen/link_protocol.h"
#include "proxy/tls/certificates.h"

namespace heddle::proxy {

class LinkConnection;

// Who else hears what the agent says. Called on the link thread.
class LinkObserver {
 public:
  virtual void pod_upserted(const PodRef& pod) = 0;
  virtual void pod_removed(const PodRef& pod) = 0;
  virtual void certificate(AgentCertificate certificate) = 0;
  virtual void agent_ready() = 0;  // a snapshot is complete
  // What else the pods need before an older proxy may go: `prepared` is called, from any thread, when they
  // have it or nobody shall wait for it any more. After agent_ready().
  virtual void prepare(std::function<void()> prepared) = 0;
  virtual void snapshot_served() = 0;  // prepared, and every worker listens: SnapshotAck was sent
  virtual void drain(std::chrono::seconds grace) = 0;
  virtual void agent_holds() = 0;  // it answered send_drained(): the listeners are safe with it

 protected:
  ~LinkObserver() = default;
};

// The proxy's conversation with the agent (api/node.proto). Connects to the agent's socket, again and again
// with backoff; gives a new agent the listeners that are held; keeps the pods, in and between conversations;
// hands pods and sockets to the workers and acknowledges a pod when every worker listens. Everything but the
// two requests runs on the loop's thread.
class AgentLink final : public tls::CertifyRequester {
 public:
  struct Options {
    std::string socket_path;  // RUN/agent/proxy.sock
    std::string version;
    PodLimits pod_limits;  // of pods for which the agent names none
    uid_t agent_uid = 0;   // whoever answers must be this (SO_PEERCRED)
    Backoff::Policy backoff{std::chrono::milliseconds(50), std::chrono::milliseconds(500), 0.2};
  };
  // `observer` outlives the link.
  AgentLink(Loop& loop, Options options, LinkObserver& observer);
  ~AgentLink();

  // The workers; they outlive the link's loop. Before start().
  void serve_lanes(std::vector<Lane*> lanes) { lanes_ = std::move(lanes); }
  void start();
  // Any thread.
  void request(const std::string& identity, std::uint32_t pod_id, const std::string& csr_der) override;
  void request_sockets(unsigned lane, std::uint32_t pod_id, bool ipv6, std::uint32_t count);

  enum class Listeners : std::uint8_t {
    let_go,  // a newer proxy has them
    keep,    // until the process ends, also for an agent that comes back and has nobody else to get them from
  };
  // Pods are refused from now on. The conversation goes on, with later agents too: what still runs needs
  // sockets.
  void stop_serving(Listeners listeners);
  bool holds_listeners() const;
  // Nobody but this process may have the pods' listeners: if it ended now, connections would be refused.
  bool is_only_holder() const { return !ready_ && holds_listeners(); }
  // The last word, sent before the process exits; the agent answers it.
  void send_drained(std::uint32_t connections_cut);

  bool connected() const { return ready_; }
  std::size_t pods() const { return pods_.size(); }
  template <class Visit>
  void for_each_pod(const Visit& visit) const {
    for (const auto& [id, held] : pods_) visit(*held.pod);
  }

 private:
  struct Held {
    PodRef pod;
    std::shared_ptr<PodListeners> listeners;
    bool in_snapshot = false;
    std::shared_ptr<Timer> leaving;  // released: until when its connections may go on
  };
  // An acknowledgement, sent when it is complete and everything before it was.
  struct Ack {
    bool snapshot = false;
    std::uint32_t id = 0;
    std::uint64_t generation = 0;
    std::size_t waiting = 0;  // lanes that have not answered
    std::string error;
  };

  void connect();
  void retry(const Error& error);
  void greet();
  void receive(UnixMessage message);
  void receive_cut(UnixMessage message);
  void handle(AgentWelcome welcome, std::vector<Fd>& descriptors);
  void handle(const AgentPodUpsert& upsert, std::vector<Fd>& descriptors);
  void handle(AgentPodRejected rejected, std::vector<Fd>& descriptors);
  void handle(AgentPodRemove remove, std::vector<Fd>& descriptors);
  void handle(AgentSnapshotEnd end, std::vector<Fd>& descriptors);
  void handle(AgentSockets sockets, std::vector<Fd>& descriptors);
  void handle(AgentCertificate certificate, std::vector<Fd>& descriptors);
  void handle(AgentDrain drain, std::vector<Fd>& descriptors);
  void handle(AgentHolding holding, std::vector<Fd>& descriptors);
  void handle(AgentUnknown, std::vector<Fd>&) {}

  std::string take_listeners(Held& held, std::vector<Fd>& descriptors, bool& changed);
  void serve(const PodRef& pod, const std::shared_ptr<PodListeners>& listeners);
  void retire(Held& held, std::chrono::seconds grace);
  void forget(std::map<std::uint32_t, Held>::iterator held);
  void answer(std::uint32_t id, std::uint64_t generation, std::string error);
  void lane_answered(std::uint64_t conversation, std::uint64_t number, const std::string& error);
  void flush_acks();
  void acknowledge_snapshot();

  Loop& loop_;
  Options options_;
  const std::uint64_t
      started_unix_ms_;  // of this process: tells the younger of two proxies, at every reconnect
  std::vector<Lane*> lanes_;
  LinkObserver& observer_;
  Backoff backoff_;
  Timer retry_timer_;
  std::unique_ptr<LinkConnection> connection_;
  std::map<std::uint32_t, Held> pods_;
  std::deque<Ack> acks_;
  std::uint64_t first_ack_ = 0;     // number of acks_.front()
  std::uint64_t conversation_ = 0;  // acks of an earlier one are not sent
  std::size_t next_gift_ = 0;
  bool listening_ = false;  // the pods of the snapshot are listened for
  bool prepared_ = false;   // and LinkObserver::prepare() is through
  bool ready_ = false;
  bool stopped_ = false;
  bool logged_ = false;  // that the agent is away
};

}  // namespace heddle::proxy
