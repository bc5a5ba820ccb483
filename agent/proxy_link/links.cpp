// SPDX-License-Identifier: Apache-2.0
#include "agent/proxy_link/links.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "agent/proxy_link/links_state.h"
#include "agent/proxy_link/message.h"
#include "base/io/unix_message.h"
#include "bpf/shared/abi.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_links = 16;  // a node has one proxy, two while it is upgraded
constexpr std::uint32_t max_held = 2 * HEDDLE_MAX_PODS;

}  // namespace

std::uint64_t ProxyLinks::unix_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

ProxyLinks::ProxyLinks(Loop& loop, Options options, Owner owner)
    : loop_(loop),
      options_(std::move(options)),
      owner_(std::move(owner)),
      // Above whatever an earlier agent gave, as long as the clock does not go back; raise_generation()
      // covers that.
      generation_(unix_us()) {}

ProxyLinks::~ProxyLinks() = default;

Result<> ProxyLinks::listen() {
  auto listener = listen_unix(options_.path, 0660, true);
  if (!listener) return listener.error();
  if (::chown(options_.path.c_str(), 0, options_.proxy_uid) != 0) {
    return make_errno(errno,
                      "cannot give " + options_.path + " to group " + std::to_string(options_.proxy_uid));
  }
  listener_ = std::move(*listener);
  acceptable_ = loop_.watch(listener_.get(), Loop::Ready::readable, [this] { accept(); });
  retry_timer_ = loop_.every(std::chrono::milliseconds(1000), [this] {
    retry_unacknowledged();
    drop_silent();
  });
  return {};
}

void ProxyLinks::accept() {
  auto socket = accept_unix(listener_, true);
  if (!socket) {
    if (socket.error().code.value() != EAGAIN) {
      spdlog::error("cannot accept a proxy error=\"{}\" next=\"raise RLIMIT_NOFILE if it names descriptors\"",
                    socket.error().message());
      // The socket stays readable: not at once again.
      acceptable_.reset();
      accept_pause_ = loop_.after(std::chrono::milliseconds(500), [this] {
        acceptable_ = loop_.watch(listener_.get(), Loop::Ready::readable, [this] { accept(); });
      });
    }
    return;
  }
  const auto peer = peer_credentials(socket->get());
  if (!peer || (peer->uid != 0 && peer->uid != options_.proxy_uid)) {
    ++totals_.refused;
    spdlog::warn("proxy refused path={} uid={} pid={} next=\"only uid 0 and --proxy-uid {} may connect\"",
                 options_.path, peer ? peer->uid : 0, peer ? peer->pid : 0, options_.proxy_uid);
    return;
  }
  if (links_.size() >= max_links) {
    ++totals_.refused;
    spdlog::warn("proxy refused pid={} reason=\"{} proxies are connected already\"", peer->pid,
                 links_.size());
    return;
  }
  ++totals_.accepted;
  const std::uint64_t id = next_link_++;
  auto link = std::make_unique<Link>();
  link->id = id;
  link->pid = static_cast<std::uint32_t>(peer->pid);
  link->connection = std::make_unique<Connection>(
      loop_, std::move(*socket), [this, id](UnixMessage message) { on_message(id, std::move(message)); },
      [this, id](const Error& error) { on_closed(id, error); });
  links_.emplace(id, std::move(link));
  spdlog::info("proxy connected link={} pid={} uid={}", id, peer->pid, peer->uid);
}

ProxyLinks::Link* ProxyLinks::find(std::uint64_t id) {
  const auto found = links_.find(id);
  return found == links_.end() ? nullptr : found->second.get();
}

void ProxyLinks::on_message(std::uint64_t id, UnixMessage message) {
  Link* link = find(id);
  if (link == nullptr) return;
  node::FromProxy decoded;
  auto result = decode_from_proxy(message.bytes, message.fds.size(), decoded);
  if (!result) {
    ++totals_.malformed;
    const bool unknown = result.error().code == make_error_code(Errc::unsupported);
    if (link->log.take(std::chrono::steady_clock::now())) {
      spdlog::warn("message from proxy ignored link={} pid={} reason=\"{}\"", id, link->pid,
                   result.error().message());
    }
    if (!unknown && ++link->malformed >= 16) {
      spdlog::error("proxy disconnected link={} pid={} reason=\"16 malformed messages\"", id, link->pid);
      drop(id);
    }
    return;
  }
  if (!in_order(*link, decoded)) return;
  dispatch(*link, decoded, std::move(message.fds));
}

bool ProxyLinks::in_order(Link& link, const node::FromProxy& message) {
  const auto said = message.message_case();
  const char* wrong = nullptr;
  if ((said == node::FromProxy::kHello) != (link.state == Link::State::connected)) {
    wrong = said == node::FromProxy::kHello ? "it said Hello twice" : "its first message was not Hello";
  } else if (said == node::FromProxy::kHeld && link.state != Link::State::greeting) {
    wrong = "it gave listeners back after HeldEnd";
  } else if (said == node::FromProxy::kHeld && ++link.held > max_held) {
    wrong = "it gave back more pods than a node can have";
  }
  if (wrong == nullptr) return true;
  spdlog::error("proxy disconnected link={} pid={} reason=\"{}\"", link.id, link.pid, wrong);
  ++totals_.malformed;
  drop(link.id);
  return false;
}

void ProxyLinks::take_held(Link& link, const node::Pod& pod, std::vector<Fd> fds) {
  raise_generation(pod.generation() + 1);
  if (!owner_.held(pod, std::move(fds[0]), std::move(fds[1]))) {
    link.stale.emplace_back(pod.id(), pod.netns_cookie());
  }
}

void ProxyLinks::dispatch(Link& link, const node::FromProxy& message, std::vector<Fd> fds) {
  switch (message.message_case()) {
    case node::FromProxy::kHello:
      link.version = message.hello().version();
      link.leaving = message.hello().draining();
      // Nobody started after this moment: a proxy must not claim to be younger than all that will ever come.
      link.started_unix_ms = std::min(message.hello().started_unix_ms(), unix_us() / 1000);
      link.state = Link::State::greeting;
      return;
    case node::FromProxy::kHeld:
      take_held(link, message.held().pod(), std::move(fds));
      return;
    case node::FromProxy::kHeldEnd:
      if (link.state != Link::State::greeting) return;
      link.state = Link::State::waiting;
      owner_.held_end();
      if (!snapshots_) return;
      owner_.when_adopted([this, id = link.id] {
        Link* greeted = find(id);
        if (greeted != nullptr && greeted->state == Link::State::waiting) send_snapshot(*greeted);
      });
      return;
    case node::FromProxy::kPodAck:
      on_ack(link, message.pod_ack().id(), message.pod_ack().generation(), message.pod_ack().error());
      return;
    case node::FromProxy::kSnapshotAck:
      on_snapshot_ack(link);
      return;
    case node::FromProxy::kSocketRequest: {
      const auto& request = message.socket_request();
      for (std::uint32_t left = request.count(); left > 0;) {
        const std::uint32_t part = std::min(left, max_sockets_per_message);
        enqueue_sockets(link, request.pod_id(), request.ipv6(), part, request.request());
        left -= part;
      }
      return;
    }
    case node::FromProxy::kCertifyRequest: {
      const auto& request = message.certify_request();
      certify(link, request.identity(), request.pod_id(), request.csr());
      return;
    }
    case node::FromProxy::kDrained:
      spdlog::info("proxy drained link={} pid={} connections_cut={}", link.id, link.pid,
                   message.drained().connections_cut());
      on_drained(link);
      return;
    default:
      return;
  }
}

// From now on an agent that is told to end stays for the listeners.
void ProxyLinks::on_drained(Link& link) {
  if (!link.listening() && link.state != Link::State::draining) return;  // its listeners are not ours yet
  link.state = Link::State::draining;
  choose_active();
  node::ToProxy answer;
  answer.mutable_holding();
  enqueue_bytes(link, answer.SerializeAsString());
  resolve_all_without_proxy();
}

void ProxyLinks::certify(Link& link, const std::string& identity, std::uint32_t pod_id,
                         const std::string& csr) {
  constexpr std::uint32_t max_outstanding = 1024;
  node::ToProxy refusal;
  refusal.mutable_certificate()->set_identity(identity);
  if (link.certifying >= max_outstanding) {
    refusal.mutable_certificate()->set_error("1024 certificate requests are outstanding already");
    enqueue_bytes(link, refusal.SerializeAsString());
    return;
  }
  ++link.certifying;
  ++totals_.certificates;
  owner_.certify(pod_id, identity, csr, [this, id = link.id](const node::ToProxy::Certificate& certificate) {
    Link* asked = find(id);
    if (asked == nullptr) return;
    --asked->certifying;
    node::ToProxy message;
    *message.mutable_certificate() = certificate;
    enqueue_bytes(*asked, message.SerializeAsString());
  });
}

void ProxyLinks::start_snapshots() {
  snapshots_ = true;
  for (auto& [id, link] : links_) {
    if (link->state == Link::State::waiting) send_snapshot(*link);
  }
}

void ProxyLinks::send_snapshot(Link& link) {
  node::ToProxy welcome;
  welcome.mutable_welcome()->set_agent_version(options_.agent_version);
  welcome.mutable_welcome()->set_node_name(options_.node_name);
  for (const auto& ip : options_.node_ips) welcome.mutable_welcome()->add_node_ips(ip);
  enqueue_bytes(link, welcome.SerializeAsString());
  link.state = link.leaving ? Link::State::draining : Link::State::snapshot;
  for (const auto& [pod_id, cookie] : link.stale) {
    node::ToProxy remove;
    remove.mutable_pod_remove()->set_id(pod_id);
    remove.mutable_pod_remove()->set_netns_cookie(cookie);
    enqueue_bytes(link, remove.SerializeAsString());
  }
  link.stale.clear();
  for (const auto& [pod_id, served] : served_) enqueue_upsert(link, pod_id);
  node::ToProxy end;
  end.mutable_snapshot_end()->set_pods(static_cast<std::uint32_t>(served_.size()));
  enqueue_bytes(link, end.SerializeAsString());
  spdlog::info("snapshot sent to proxy link={} pid={} version={} pods={}", link.id, link.pid, link.version,
               served_.size());
}

void ProxyLinks::on_snapshot_ack(Link& link) {
  if (link.state != Link::State::snapshot) return;
  link.state = Link::State::serving;
  const Link* active = find(active_);
  if (active == nullptr || active->age() < link.age()) {
    active = &link;
    active_ = link.id;
    spdlog::info("proxy is active link={} pid={} version={}", link.id, link.pid, link.version);
  }  // else it was overtaken while it took its snapshot
  node::ToProxy drain;
  drain.mutable_drain()->set_grace_seconds(options_.drain_grace_seconds);
  for (auto& [id, other] : links_) {
    if (other->age() >= active->age()) continue;
    if (other->state != Link::State::serving) continue;  // drained when it has its snapshot
    other->state = Link::State::draining;
    enqueue_bytes(*other, drain.SerializeAsString());
    spdlog::info("proxy told to drain link={} pid={} version={} grace_s={}", id, other->pid, other->version,
                 options_.drain_grace_seconds);
  }
}

void ProxyLinks::on_closed(std::uint64_t id, const Error& error) {
  Link* link = find(id);
  if (link == nullptr) return;
  const bool orderly = error.code == make_error_code(Errc::closed);
  if (orderly && link->state == Link::State::draining) {
    spdlog::info("drained proxy is gone link={} pid={}", id, link->pid);
  } else if (id == active_) {
    spdlog::warn(
        "active proxy is gone link={} pid={} reason=\"{}\" next=\"connections wait in the listeners until "
        "a proxy connects\"",
        id, link->pid, error.message());
  } else {
    spdlog::info("proxy is gone link={} pid={} reason=\"{}\"", id, link->pid, error.message());
  }
  drop(id);
}

// A link that never greets would hold one of max_links for ever.
void ProxyLinks::drop_silent() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::uint64_t> silent;
  for (const auto& [id, link] : links_) {
    const bool greeted = link->state != Link::State::connected && link->state != Link::State::greeting;
    if (!greeted && now - link->since > options_.greeting_deadline) silent.push_back(id);
  }
  for (const auto id : silent) {
    spdlog::error("proxy disconnected link={} reason=\"no HeldEnd within {} s\"", id,
                  options_.greeting_deadline.count() / 1000);
    drop(id);
  }
}

void ProxyLinks::drop(std::uint64_t id) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  // Destroyed later: this may run inside one of its own callbacks.
  loop_.post([gone = std::shared_ptr<Link>(std::move(found->second))] {});
  links_.erase(found);
  choose_active();
  resolve_all_without_proxy();
}

// The youngest that serves, when the one that was active does no more.
void ProxyLinks::choose_active() {
  const Link* active = find(active_);
  if (active != nullptr && active->state == Link::State::serving) return;
  active_ = 0;
  for (const auto& [id, link] : links_) {
    if (link->state != Link::State::serving) continue;
    const Link* best = find(active_);
    if (best == nullptr || best->age() < link->age()) active_ = id;
  }
}

bool ProxyLinks::has_active() const {
  return active_ != 0;
}

std::vector<ProxyLinks::Status> ProxyLinks::status() const {
  std::vector<Status> out;
  for (const auto& [id, link] : links_) {
    Status status;
    status.pid = link->pid;
    status.version = link->version;
    switch (link->state) {
      case Link::State::connected:
      case Link::State::greeting:
      case Link::State::waiting:
        status.state = "greeting";
        break;
      case Link::State::snapshot:
        status.state = "snapshot";
        break;
      case Link::State::serving:
        status.state = id == active_ ? "active" : "standby";
        break;
      case Link::State::draining:
        status.state = "draining";
        break;
    }
    status.pods_acknowledged =
        static_cast<std::size_t>(std::count_if(link->told.begin(), link->told.end(), [](const auto& entry) {
          return entry.second.acked >= entry.second.sent && entry.second.acked;
        }));
    status.queued = link->connection->queued();
    out.push_back(std::move(status));
  }
  return out;
}

}  // namespace heddle::agent
