// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/agent_link.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/io/connection.h"
#include "proxy/listen/link_connection.h"

namespace heddle::proxy {
namespace {

// A request's number carries the lane that asked: 0 is no request.
constexpr unsigned lane_bits = 10;

bool is_listening(int socket) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value == 1;
}

std::uint64_t socket_cookie(int socket) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  return cookie;
}

void make_nonblocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) ::fcntl(socket, F_SETFL, flags | O_NONBLOCK);
}

std::uint64_t unix_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace

AgentLink::AgentLink(Loop& loop, Options options, LinkObserver& observer)
    : loop_(loop),
      options_(std::move(options)),
      started_unix_ms_(unix_ms()),
      observer_(observer),
      backoff_(options_.backoff, static_cast<std::uint64_t>(::getpid())),
      retry_timer_(loop, [this] { connect(); }) {}

AgentLink::~AgentLink() = default;

void AgentLink::start() {
  connect();
}

void AgentLink::connect() {
  // Answers of workers that are still on their way belong to the conversation that ended.
  connection_.reset();
  ++conversation_;
  first_ack_ += acks_.size();
  acks_.clear();
  listening_ = prepared_ = false;
  auto socket = connect_unix(options_.socket_path, true);
  if (!socket) return retry(socket.error());
  auto peer = peer_credentials(socket->get());
  if (!peer) return retry(peer.error());
  if (peer->uid != options_.agent_uid) {
    return retry(make_error(Errc::permission_denied, "uid " + std::to_string(peer->uid) + " serves " +
                                                         options_.socket_path + " but only uid " +
                                                         std::to_string(options_.agent_uid) + " may"));
  }
  LinkConnection::Events events;
  events.message = [this](UnixMessage message) { receive(std::move(message)); };
  events.closed = [this](const Error& error) { retry(error); };
  connection_ = std::make_unique<LinkConnection>(loop_, std::move(*socket), std::move(events));
  greet();
}

void AgentLink::retry(const Error& error) {
  ready_ = false;
  if (!std::exchange(logged_, true)) {
    spdlog::warn(
        "agent away, pods are served as they are path={} error=\"{}\" next=\"see that heddle-agent runs\"",
        options_.socket_path, error.message());
  }
  retry_timer_.arm(backoff_.next());
}

void AgentLink::greet() {
  connection_->send(
      encode_hello(options_.version, static_cast<std::uint32_t>(::getpid()), started_unix_ms_, stopped_));
  std::uint32_t given = 0;
  for (auto& [id, held] : pods_) {
    held.in_snapshot = false;
    if (!held.listeners) continue;  // let go of
    connection_->send(encode_held(*held.pod), held.listeners);
    ++given;
  }
  connection_->send(encode_held_end(given));
}

void AgentLink::receive(UnixMessage message) {
  if (message.fds_cut) return receive_cut(std::move(message));
  auto decoded = decode_agent_message(message.bytes, message.fds.size());
  if (!decoded) {
    spdlog::warn("ignored a message of the agent error=\"{}\"", decoded.error().message());
    return;
  }
  std::visit([&](auto& each) { handle(std::move(each), message.fds); }, *decoded);
}

// No descriptor was left for all that came with it. Sockets are only more of what there is too much of
// already: who waits for them is told, and the conversation goes on. A pod's listeners are needed; the
// snapshot of another conversation brings them again, later and later.
void AgentLink::receive_cut(UnixMessage message) {
  message.fds.clear();
  auto decoded = decode_agent_message(message.bytes, 0);
  auto* sockets = decoded ? std::get_if<AgentSockets>(&*decoded) : nullptr;
  if (sockets == nullptr) {
    return connection_->close(make_error(Errc::exhausted,
                                         "no descriptor is left for what the agent gives (raise "
                                         "RLIMIT_NOFILE, or lower --max-connections-per-pod)"));
  }
  if (const auto found = pods_.find(sockets->pod_id); found != pods_.end()) {
    found->second.pod->load->count(Limit::descriptors);
  }
  sockets->prepared = true;
  sockets->error = "no descriptor is left for them";
  handle(std::move(*sockets), message.fds);
}

void AgentLink::handle(AgentWelcome welcome, std::vector<Fd>&) {
  spdlog::info("agent connected version={} node={} held_pods={}", welcome.agent_version, welcome.node_name,
               pods_.size());
}

void AgentLink::handle(const AgentPodUpsert& upsert, std::vector<Fd>& descriptors) {
  const std::shared_ptr<Pod>& pod = upsert.pod;
  auto found = pods_.find(pod->id);
  if (stopped_) {
    // Not served anew, but it lives: what it has here may end by itself.
    if (found != pods_.end() && found->second.pod->netns_cookie == pod->netns_cookie)
      found->second.in_snapshot = true;
    return answer(pod->id, pod->generation, "this proxy drains");
  }
  if (found != pods_.end() && found->second.pod->netns_cookie != pod->netns_cookie) {
    forget(found);
    found = pods_.end();
  }
  const bool fresh = found == pods_.end();
  Held held = fresh ? Held{} : found->second;
  bool changed = false;
  if (auto error = take_listeners(held, descriptors, changed); !error.empty()) {
    return answer(pod->id, pod->generation, std::move(error));
  }
  if (!fresh) pod->load = found->second.pod->load;
  pod->load->limits.set(pod->limits.or_else(options_.pod_limits));
  held.pod = pod;
  held.in_snapshot = true;
  held.leaving = nullptr;  // wanted again
  const auto listeners = held.listeners;
  pods_[pod->id] = std::move(held);
  if (fresh) {
    spdlog::info("pod served pod={}/{} id={} identity={} interception={}", pod->ns, pod->name, pod->id,
                 pod->identity, pod->interception == Interception::ebpf ? "ebpf" : "iptables");
  }
  observer_.pod_upserted(pod);
  serve(pod, changed ? listeners : nullptr);
}

// Puts the listeners that came into `held`; the same ones again change nothing.
std::string AgentLink::take_listeners(Held& held, std::vector<Fd>& descriptors, bool& changed) {
  if (descriptors.empty()) return held.listeners ? "" : "no listeners came with the pod and none are held";
  for (const Fd& descriptor : descriptors) {
    if (!is_listening(descriptor.get())) return "a descriptor beside the pod is not a listening socket";
  }
  if (held.listeners &&
      socket_cookie(held.listeners->outbound.get()) == socket_cookie(descriptors[0].get()) &&
      socket_cookie(held.listeners->inbound.get()) == socket_cookie(descriptors[1].get())) {
    return {};
  }
  for (const Fd& descriptor : descriptors) {
    make_nonblocking(descriptor.get());
    set_connection_options(descriptor.get());  // inherited by what is accepted
  }
  held.listeners =
      std::make_shared<PodListeners>(PodListeners{std::move(descriptors[0]), std::move(descriptors[1])});
  changed = true;
  return {};
}

void AgentLink::serve(const PodRef& pod, const std::shared_ptr<PodListeners>& listeners) {
  const std::uint64_t number = first_ack_ + acks_.size();
  acks_.push_back({false, pod->id, pod->generation, lanes_.size(), {}});
  for (Lane* lane : lanes_) {
    lane->upsert(pod, listeners, [this, number, conversation = conversation_](const std::string& error) {
      loop_.post([this, number, conversation, error] { lane_answered(conversation, number, error); });
    });
  }
}

void AgentLink::lane_answered(std::uint64_t conversation, std::uint64_t number, const std::string& error) {
  if (conversation != conversation_) return;
  Ack& ack = acks_[number - first_ack_];
  --ack.waiting;
  if (!error.empty()) ack.error = error;
  flush_acks();
}

void AgentLink::answer(std::uint32_t id, std::uint64_t generation, std::string error) {
  if (!error.empty()) spdlog::warn("pod refused id={} error=\"{}\"", id, error);
  acks_.push_back({false, id, generation, 0, std::move(error)});
  flush_acks();
}

void AgentLink::flush_acks() {
  while (!acks_.empty() && acks_.front().waiting == 0) {
    const Ack& ack = acks_.front();
    if (ack.snapshot) {
      listening_ = true;
      acknowledge_snapshot();
    } else {
      connection_->send(encode_pod_ack(ack.id, ack.generation, ack.error));
    }
    acks_.pop_front();
    ++first_ack_;
  }
}

// Later pods' acknowledgements do not wait for it.
void AgentLink::acknowledge_snapshot() {
  if (!listening_ || !prepared_) return;
  connection_->send(encode_snapshot_ack(static_cast<std::uint32_t>(pods_.size())));
  observer_.snapshot_served();
}

void AgentLink::handle(AgentPodRejected rejected, std::vector<Fd>&) {
  // A pod that was served before goes on as it was.
  if (const auto held = pods_.find(rejected.id); held != pods_.end()) held->second.in_snapshot = true;
  answer(rejected.id, rejected.generation, std::move(rejected.error));
}

void AgentLink::handle(AgentPodRemove remove, std::vector<Fd>&) {
  const auto found = pods_.find(remove.id);
  if (found == pods_.end() || found->second.pod->netns_cookie != remove.netns_cookie) return;
  if (remove.grace_seconds == 0) return forget(found);
  if (!found->second.leaving) retire(found->second, std::chrono::seconds(remove.grace_seconds));
}

// The pod lives on without the mesh: no new connections, those that it has may end by themselves.
void AgentLink::retire(Held& held, std::chrono::seconds grace) {
  const PodRef pod = held.pod;
  spdlog::info("pod released, its connections may end pod={}/{} id={} grace_s={}", pod->ns, pod->name,
               pod->id, grace.count());
  held.listeners.reset();
  held.leaving = std::make_shared<Timer>(loop_, [this, id = pod->id] {
    if (const auto due = pods_.find(id); due != pods_.end()) forget(due);
  });
  held.leaving->arm(grace);
  for (Lane* lane : lanes_) lane->retire(pod->id, pod->netns_cookie);
}

void AgentLink::forget(std::map<std::uint32_t, Held>::iterator held) {
  const PodRef pod = held->second.pod;
  pods_.erase(held);
  spdlog::info("pod left pod={}/{} id={}", pod->ns, pod->name, pod->id);
  for (Lane* lane : lanes_) lane->remove(pod->id, pod->netns_cookie);
  observer_.pod_removed(pod);
}

void AgentLink::handle(AgentSnapshotEnd, std::vector<Fd>&) {
  // What the agent does not know of ended while nobody talked.
  for (auto held = pods_.begin(); held != pods_.end();) {
    const auto next = std::next(held);
    if (!held->second.in_snapshot && !held->second.leaving) forget(held);
    held = next;
  }
  backoff_.reset();
  logged_ = false;
  ready_ = true;
  for (Lane* lane : lanes_) lane->agent_ready();
  observer_.agent_ready();
  observer_.prepare([this, conversation = conversation_] {
    loop_.post([this, conversation] {
      if (conversation != conversation_ || std::exchange(prepared_, true)) return;
      acknowledge_snapshot();
    });
  });
  acks_.push_back({true, 0, 0, 0, {}});
  flush_acks();
}

void AgentLink::handle(AgentSockets sockets, std::vector<Fd>& descriptors) {
  if (!sockets.prepared) {  // by an older agent
    for (const Fd& descriptor : descriptors) {
      make_nonblocking(descriptor.get());
      set_connection_options(descriptor.get());
    }
  }
  const std::size_t asker = sockets.request & ((1u << lane_bits) - 1);
  if (sockets.request != 0 && asker < lanes_.size()) {
    lanes_[asker]->sockets(sockets.pod_id, sockets.ipv6, std::move(descriptors), std::move(sockets.error));
    return;
  }
  // A gift is spread over the workers.
  std::vector<std::vector<Fd>> shares(lanes_.size());
  for (Fd& descriptor : descriptors) shares[next_gift_++ % lanes_.size()].push_back(std::move(descriptor));
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (!shares[i].empty()) lanes_[i]->sockets(sockets.pod_id, sockets.ipv6, std::move(shares[i]), {});
  }
}

void AgentLink::handle(AgentCertificate certificate, std::vector<Fd>&) {
  observer_.certificate(std::move(certificate));
}

void AgentLink::handle(AgentDrain drain, std::vector<Fd>&) {
  observer_.drain(std::chrono::seconds(drain.grace_seconds));
}

void AgentLink::handle(AgentHolding, std::vector<Fd>&) {
  observer_.agent_holds();
}

void AgentLink::request(const std::string& identity, std::uint32_t pod_id, const std::string& csr_der) {
  loop_.post([this, message = encode_certify_request(identity, pod_id, csr_der)] {
    if (ready_) connection_->send(message);
  });
}

void AgentLink::request_sockets(unsigned lane, std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
  static std::atomic<std::uint64_t> sequence{1};
  const std::uint64_t number = (sequence.fetch_add(1, std::memory_order_relaxed) << lane_bits) | lane;
  loop_.post([this, message = encode_socket_request(pod_id, ipv6, count, number)] {
    // Not ready: agent_ready() makes the workers ask again.
    if (ready_) connection_->send(message);
  });
}

void AgentLink::stop_serving(Listeners listeners) {
  stopped_ = true;
  if (listeners == Listeners::keep) return;
  for (auto& [id, held] : pods_) held.listeners.reset();
}

bool AgentLink::holds_listeners() const {
  return std::any_of(pods_.begin(), pods_.end(),
                     [](const auto& entry) { return entry.second.listeners != nullptr; });
}

void AgentLink::send_drained(std::uint32_t connections_cut) {
  if (!connection_ || !connection_->open()) return;
  connection_->send(encode_drained(connections_cut));
  connection_->flush_now();
}

}  // namespace heddle::proxy
