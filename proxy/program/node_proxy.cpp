// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/node_proxy.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <csignal>

#include "proxy/pods/node_pods.h"
#include "proxy/upstream/brokered_dialer.h"

namespace heddle::proxy {
namespace {

// Enough for /state: an answer is one JSON document.
std::string host_name() {
  char name[256]{};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// How long HTTP connections without a request are left open by a proxy that is told to end, and before the
// end of one that drains for a newer proxy they are closed by so much.
constexpr std::chrono::milliseconds signal_idle{2000};
constexpr std::chrono::milliseconds last_closing{1000};
// A proxy whose identities have no answer by then takes over all the same: maybe nobody gets one, and the
// older one's last as long as theirs.
constexpr std::chrono::milliseconds certificates_patience{5000};
// For the answer of an agent to the last word of a proxy; older ones give none.
constexpr std::chrono::milliseconds agent_patience{1000};

}  // namespace

NodeProxy::NodeProxy(ProgramOptions options)
    : options_(std::move(options)),
      ceilings_(options_.max_memory),
      prepare_timer_(loop_, [this] { prepared_too_late(); }),
      leave_timer_(loop_, [this] { leave_without_answer(); }) {
  signal_handler_.proxy = this;
}

NodeProxy::~NodeProxy() {
  admin_.reset();
  for (auto& each : workers_) {
    if (each->thread.joinable()) {
      each->worker.loop.stop();
      each->thread.join();
    }
  }
}

Result<> NodeProxy::start(Fd signals) {
  signals_ = std::move(signals);
  if (auto added = loop_.add(signals_.get(), EPOLLIN, signal_handler_); !added) return added;
  auto format = parse_access_log_format(options_.access_log);
  if (!format) return format.error();
  recorder_ = std::make_unique<Recorder>(*format);
  registry_.add_collector([this](MetricsRegistry::Format as) { return pod_metrics_.write(as); });

  for (unsigned i = 0; i < options_.workers; ++i) {
    workers_.push_back(std::make_unique<WorkerThread>(i, options_.settings));
  }
  if (auto opened = open_stores(); !opened) return opened;
  std::vector<Lane*> lanes;
  for (unsigned i = 0; i < options_.workers; ++i) {
    make_worker(i);
    lanes.push_back(workers_[i]->lane.get());
  }
  drain_ = std::make_unique<Drain>(loop_, lanes, [this](std::size_t cut) { drained(cut); });
  link_->serve_lanes(lanes);
  if (auto started = start_admin(); !started) return started;
  for (auto& each : workers_) {
    each->thread = std::thread([worker = &each->worker] { worker->loop.run(); });
    ::pthread_setname_np(each->thread.native_handle(),
                         ("worker" + std::to_string(each->worker.index)).c_str());
  }
  link_->start();
  start_guard();
  return {};
}

void NodeProxy::start_guard() {
  const Ceiling memory = ceilings_.memory();
  const Ceiling descriptors = ceilings_.descriptors();
  spdlog::info("ceilings memory={} descriptors={}", memory.limit, descriptors.limit);
  PodGuard::Hooks hooks;
  hooks.for_each_pod = [this](const auto& visit) { link_->for_each_pod(visit); };
  hooks.descriptors = [this] { return ceilings_.descriptors(); };
  hooks.memory = [this] { return ceilings_.memory(); };
  hooks.shed = [this](std::uint32_t pod_id, std::size_t resets) {
    for (auto& each : workers_) each->lane->shed(pod_id, (resets + workers_.size() - 1) / workers_.size());
  };
  guard_ = std::make_unique<PodGuard>(loop_, std::move(hooks));
  guard_->start();
}

Result<> NodeProxy::open_stores() {
  AgentLink::Options link;
  link.socket_path = options_.run_dir + "/agent/proxy.sock";
  link.version = HEDDLE_VERSION;
  link.pod_limits = options_.settings.pod_limits;
  link_ = std::make_unique<AgentLink>(loop_, link, static_cast<LinkObserver&>(*this));

  tls::CertificateStore::Options certificates;
  certificates.trust_anchors = options_.trust_anchors;
  auto store = tls::CertificateStore::open(certificates, *link_, registry_.make_telemetry());
  if (!store) return store.error();
  certificates_ = std::move(*store);

  Discovery::Options discovery;
  discovery.address = options_.destination_address;
  discovery.trust_anchors = options_.trust_anchors;
  discovery.server_name = "heddle-control." + options_.control_namespace + ".serviceaccount.identity." +
                          options_.control_namespace + "." + options_.trust_domain;
  discovery.node_name = options_.node_name.empty() ? host_name() : options_.node_name;
  auto started = Discovery::start(discovery, registry_.make_telemetry());
  if (!started) return started.error();
  discovery_ = std::move(*started);
  discovery_->on_first_answer([this] { readiness_.discovery = true; });
  return {};
}

void NodeProxy::make_worker(unsigned index) {
  Worker& worker = workers_[index]->worker;
  worker.telemetry = registry_.make_telemetry(recorder_.get());
  auto pods = std::make_unique<NodePods>();
  auto dialer = std::make_unique<BrokeredDialer>(
      worker.loop, [this, index, &worker](std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
        worker.telemetry
            ->counter("heddle_broker_sockets_requested_total", "Sockets asked of the agent",
                      render_label("family", ipv6 ? "ipv6" : "ipv4"))
            ->add(count);
        link_->request_sockets(index, pod_id, ipv6, count);
      });
  workers_[index]->lane = std::make_unique<WorkerLane>(worker, *pods, *dialer);
  worker.pods = std::move(pods);
  worker.dialer = std::move(dialer);
  worker.tls = certificates_->make_endpoint(worker.loop);
  worker.directory = discovery_->make_directory(worker.loop);
  worker.mesh_pool = make_mesh_pool(worker);
  worker.http_pool = make_http_pool(worker);
  worker.connections = std::make_unique<ConnectionSet>(worker);
}

Result<> NodeProxy::start_admin() {
  AdminOptions admin;
  admin.address = options_.admin_address;
  admin.socket_path = options_.run_dir + "/proxy/admin.sock";
  AdminHooks hooks;
  hooks.state = [this](AdminHooks::Reply reply) {
    loop_.post([this, reply = std::move(reply)] { reply(state_json()); });
  };
  hooks.explain = [this](std::string pod, SocketAddress dst, AdminHooks::Reply reply) {
    // Not find() and substr(): gcc 12 -O2 sees an overread there that is none.
    const std::string ns(pod.begin(), std::find(pod.begin(), pod.end(), '/'));
    discovery_->explain(ns, dst, std::move(reply));
  };
  auto started = AdminServer::start(admin, registry_, readiness_, *recorder_, std::move(hooks));
  if (!started) return started.error();
  admin_ = std::move(*started);
  return {};
}

std::string NodeProxy::state_json() const {
  boost::json::object state;
  state["version"] = HEDDLE_VERSION;
  state["pid"] = ::getpid();
  state["workers"] = options_.workers;
  state["draining"] = readiness_.draining.load();
  state["agent_connected"] = link_->connected();
  boost::json::array pods;
  link_->for_each_pod([&pods](const Pod& pod) {
    boost::json::object entry;
    entry["id"] = pod.id;
    entry["namespace"] = pod.ns;
    entry["name"] = pod.name;
    entry["identity"] = pod.identity;
    boost::json::array ips;
    for (const IpAddress& ip : pod.ips) ips.emplace_back(ip.to_string());
    entry["ips"] = std::move(ips);
    entry["outbound_port"] = pod.outbound_port;
    entry["inbound_port"] = pod.inbound_port;
    entry["interception"] = pod.interception == Interception::ebpf ? "ebpf" : "iptables";
    entry["connections"] = pod.load->connections.load();
    entry["buffered_bytes"] = pod.load->buffered_bytes.load();
    entry["requests"] = pod.load->requests.load();
    entry["streams_refused"] = pod.load->streams_refused.load();
    pods.push_back(std::move(entry));
  });
  state["pods"] = std::move(pods);
  boost::system::error_code ignored;
  state["certificates"] = boost::json::parse(certificates_->state_json(), ignored);
  state["discovery"] = boost::json::parse(discovery_->state_json(), ignored);
  return boost::json::serialize(state);
}

std::size_t NodeProxy::run() {
  loop_.run();
  return connections_cut_;
}

void NodeProxy::signalled() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  // A drain that the agent began goes on: whoever replaces a proxy ends the old one while it drains.
  if (std::exchange(stopped_by_signal_, true)) {
    spdlog::warn("second signal, not waiting for connections signal={}", info.ssi_signo);
    link_->send_drained(0);
    return end(0);
  }
  // Nobody serves new connections until the next proxy comes: what is idle shall not keep them waiting.
  begin_drain(options_.settings.drain_grace, signal_idle, AgentLink::Listeners::keep);
}

// A newer proxy serves, so there is time.
void NodeProxy::drain(std::chrono::seconds grace) {
  grace = std::max(grace, std::chrono::seconds(1));
  // Whoever asks there whether the node has a proxy that is ready means the newer one.
  if (admin_) admin_->release_address();
  begin_drain(grace, std::max<std::chrono::milliseconds>(grace - last_closing, grace / 2),
              AgentLink::Listeners::let_go);
}

void NodeProxy::begin_drain(std::chrono::milliseconds grace, std::chrono::milliseconds idle,
                            AgentLink::Listeners listeners) {
  spdlog::info("draining: new connections wait for the next proxy grace_ms={}", grace.count());
  readiness_.draining = true;
  link_->stop_serving(listeners);
  drain_->begin(grace, idle);
}

void NodeProxy::drained(std::size_t connections_cut) {
  waiting_to_end_ = connections_cut;
  take_leave();
}

// Agent and proxy may be replaced at the same time: the listeners must not be without both. The agent may be
// ending in this moment, too, trusting in us: only its answer says that it is not.
void NodeProxy::take_leave() {
  if (link_->is_only_holder()) return stay_for_listeners();
  link_->send_drained(static_cast<std::uint32_t>(*waiting_to_end_));
  if (!link_->holds_listeners()) return end(*waiting_to_end_);
  leave_timer_.arm(agent_patience);
}

// Of an older agent; or of none, which has gone meanwhile.
void NodeProxy::leave_without_answer() {
  if (link_->is_only_holder()) return stay_for_listeners();
  end(*waiting_to_end_);
}

void NodeProxy::stay_for_listeners() {
  spdlog::warn(
      "drained, but the agent is away: holding the pods' listeners for it connections_cut={} "
      "next=\"see that heddle-agent runs\"",
      *waiting_to_end_);
}

void NodeProxy::agent_holds() {
  if (waiting_to_end_) end(*waiting_to_end_);
}

void NodeProxy::end(std::size_t connections_cut) {
  connections_cut_ = connections_cut;
  spdlog::info("drained connections_cut={}", connections_cut);
  loop_.stop();
}

void NodeProxy::pod_upserted(const PodRef& pod) {
  certificates_->pod_added(*pod);
  pod_metrics_.upsert(*pod);
}
void NodeProxy::pod_removed(const PodRef& pod) {
  certificates_->pod_removed(*pod);
  pod_metrics_.remove(*pod);
}

void NodeProxy::certificate(AgentCertificate certificate) {
  certificates_->on_certificate(std::move(certificate.identity), std::move(certificate.leaf),
                                std::move(certificate.intermediates), certificate.valid_until_unix,
                                std::move(certificate.error));
}

void NodeProxy::agent_ready() {
  certificates_->link_up();
  if (waiting_to_end_) take_leave();
}

// Whoever takes over before it can prove who its pods are refuses what the older proxy would have served; and
// the agent, which may be on its way to be replaced, is not there to ask any more once it has seen somebody
// serve.
void NodeProxy::prepare(std::function<void()> prepared) {
  prepared_ = std::move(prepared);
  prepare_timer_.arm(certificates_patience);
  certificates_->when_answered([this] { loop_.post([this] { end_preparing(); }); });
}

void NodeProxy::prepared_too_late() {
  spdlog::warn(
      "serving without all certificates waited_ms={} next=\"see heddle-agent's and heddle-control's logs\"",
      certificates_patience.count());
  end_preparing();
}

void NodeProxy::end_preparing() {
  prepare_timer_.cancel();
  if (const auto prepared = std::exchange(prepared_, nullptr)) prepared();
}

void NodeProxy::snapshot_served() {
  readiness_.snapshot = true;
}

}  // namespace heddle::proxy
