// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/loop.h"
#include "agent/proxy_link/connection.h"
#include "base/fd.h"
#include "base/result.h"

namespace heddle::node {
class FromProxy;
class Pod;
class ToProxy_Certificate;
}  // namespace heddle::node

namespace heddle::agent {

// The agent's end of the conversation atop api/node.proto, with every proxy that is connected. The newest
// becomes the active one when it serves the whole snapshot; then the older ones are told to drain. Main
// thread.
class ProxyLinks {
 public:
  struct Owner {
    // False: there is no such pod any more; the proxy is told to let go of it.
    std::function<bool(const node::Pod&, Fd outbound, Fd inbound)> held;
    std::function<void()> held_end;
    // Runs it once what `held` took is served: a snapshot without it would end that pod's connections.
    std::function<void(std::function<void()>)> when_adopted;
    // Sockets in the pod's netns, tagged; at most max_sockets_per_message.
    std::function<Result<std::vector<Fd>>(std::uint32_t pod_id, bool ipv6, std::uint32_t count)> sockets;
    using Answer = std::function<void(const node::ToProxy_Certificate&)>;
    // Any time later, on the loop, once; `answer` copes with the proxy being gone by then.
    std::function<void(std::uint32_t pod_id, const std::string& identity, const std::string& csr,
                       Answer answer)>
        certify;
  };
  struct Options {
    std::string path;  // RUN/agent/proxy.sock
    std::uint32_t proxy_uid = 65534;
    std::string agent_version;
    std::string node_name;
    std::vector<std::string> node_ips;
    std::uint32_t drain_grace_seconds = 120;
    std::chrono::milliseconds ack_deadline{2000};
    std::chrono::milliseconds retry_unacknowledged{5000};
    std::chrono::milliseconds greeting_deadline{30'000};  // until HeldEnd
  };
  struct Status {
    std::uint32_t pid = 0;
    std::string version;
    std::string state;  // greeting, snapshot, standby, active, draining
    std::size_t pods_acknowledged = 0;
    std::size_t queued = 0;
  };
  struct Totals {
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;  // wrong uid
    std::uint64_t malformed = 0;
    std::uint64_t sockets = 0;  // handed out
    std::uint64_t socket_errors = 0;
    std::uint64_t acks = 0;
    std::uint64_t ack_errors = 0;
    std::uint64_t ack_timeouts = 0;
    std::uint64_t certificates = 0;
  };

  ProxyLinks(Loop& loop, Options options, Owner owner);
  ~ProxyLinks();

  Result<> listen();
  // Until then no snapshot is sent: the agent is still finding out what there is.
  void start_snapshots();

  // Tells every proxy of the pod with a new generation; `done` when one acknowledged, none is there, or the
  // deadline passed: never an error, because enrolment goes on without a proxy. The listeners stay the
  // caller's and must stay open until withdraw().
  void offer(const node::Pod& pod, int outbound, int inbound, std::function<void()> done);
  enum class Withdrawal : std::uint8_t {
    gone,      // the pod ended: so do its connections
    released,  // it lives on without the mesh: its connections may end by themselves for the drain's grace
  };
  void withdraw(std::uint32_t pod_id, std::uint64_t cookie, Withdrawal why);
  std::chrono::seconds drain_grace() const { return std::chrono::seconds(options_.drain_grace_seconds); }
  // Generations continue after what a proxy had from an earlier agent, unless it claims one from far beyond
  // today: they must not run out.
  void raise_generation(std::uint64_t at_least);

  bool acknowledged(std::uint32_t pod_id) const;  // by the active proxy, or any while none is
  bool has_active() const;
  std::size_t connected() const { return links_.size(); }
  std::vector<Status> status() const;
  const Totals& totals() const { return totals_; }

 private:
  struct Served;
  struct Link;
  struct Pending;

  static std::uint64_t unix_us();
  void accept();
  void on_message(std::uint64_t id, UnixMessage message);
  void dispatch(Link& link, const node::FromProxy& message, std::vector<Fd> fds);
  // Whether the message may come now; if not, the proxy is disconnected.
  bool in_order(Link& link, const node::FromProxy& message);
  void take_held(Link& link, const node::Pod& pod, std::vector<Fd> fds);
  void on_closed(std::uint64_t id, const Error& error);
  void send_snapshot(Link& link);
  void enqueue_upsert(Link& link, std::uint32_t pod_id);
  void enqueue_sockets(Link& link, std::uint32_t pod_id, bool ipv6, std::uint32_t count,
                       std::uint64_t request);
  void enqueue_bytes(Link& link, std::string bytes);
  std::optional<OutgoingMessage> build_upsert(std::uint64_t link_id, std::uint32_t pod_id);
  std::optional<OutgoingMessage> build_sockets(std::uint64_t link_id, std::uint32_t pod_id, bool ipv6,
                                               std::uint32_t count, std::uint64_t request);
  void on_ack(Link& link, std::uint32_t pod_id, std::uint64_t generation, const std::string& error);
  void on_snapshot_ack(Link& link);
  void on_drained(Link& link);
  void choose_active();
  void certify(Link& link, const std::string& identity, std::uint32_t pod_id, const std::string& csr);
  void resolve(std::uint32_t pod_id);
  void resolve_all_without_proxy();
  void retry_unacknowledged();
  void drop_silent();
  void drop(std::uint64_t id);
  Link* find(std::uint64_t id);

  Loop& loop_;
  Options options_;
  Owner owner_;
  Totals totals_;
  Fd listener_;
  std::unique_ptr<Loop::Handle> acceptable_;
  std::unique_ptr<Loop::Handle> accept_pause_;
  std::unique_ptr<Loop::Handle> retry_timer_;
  std::uint64_t next_link_ = 1;
  std::uint64_t active_ = 0;
  std::uint64_t generation_;
  bool snapshots_ = false;
  std::map<std::uint64_t, std::unique_ptr<Link>> links_;  // oldest first
  std::unordered_map<std::uint32_t, std::unique_ptr<Served>> served_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Pending>> pending_;
};

}  // namespace heddle::agent
