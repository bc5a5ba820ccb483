// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "agent/agent_parts.h"
#include "agent/node_cgroups.h"
#include "agent/version.h"
#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "base/io/netns.h"
#include "control/source/kubernetes/find_access.h"
#include "control/source/kubernetes/source.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds patience_for_held{1000};
constexpr std::chrono::milliseconds patience_for_releases{20'000};  // kubelet kills after 30 s
constexpr std::chrono::milliseconds patience_for_proxy{25'000};
constexpr std::chrono::milliseconds look_for_proxy{100};

Result<std::uint32_t> random_mark() {
  std::uint32_t mark = 0;
  while (mark == 0) {
    if (::getrandom(&mark, sizeof mark, 0) != sizeof mark) return make_errno(errno, "getrandom");
  }
  return mark;
}

// A proxy that never was root could not make its folder beside ours.
Result<> make_proxy_folder(const std::string& path, std::uint32_t uid) {
  if (auto made = make_directories(path, 0700); !made) return made;
  if (::lchown(path.c_str(), uid, uid) != 0)
    return make_errno(errno, "cannot give " + path + " to the proxy's user (needs CAP_CHOWN)");
  return {};
}

Result<std::vector<IpAddress>> node_addresses() {
  auto found = local_addresses();
  if (found) {
    std::erase_if(*found, [](const IpAddress& ip) { return ip.is_link_local(); });
    std::sort(found->begin(), found->end());
  }
  return found;
}

}  // namespace

Agent::Agent(Options options) : options_(std::move(options)), parts_(std::make_unique<Parts>()) {}

Agent::~Agent() = default;

Result<> Agent::prepare_folders() {
  parts_->folder = options_.run_dir + "/agent";
  if (auto made = make_directories(parts_->folder); !made) return made;
  if (auto made = make_directories(parts_->folder + "/netns", 0700); !made) return made;
  parts_->lock = Fd(::open((parts_->folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!parts_->lock) return make_errno(errno, "cannot open " + parts_->folder + "/lock");
  if (::flock(parts_->lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return make_error(Errc::already_exists,
                      "another heddle-agent uses " + parts_->folder + "; stop it first");
  }
  return make_proxy_folder(options_.run_dir + "/proxy", options_.proxy_uid);
}

Result<> Agent::open_state() {
  const std::string path = parts_->folder + "/pods.json";
  parts_->store = std::make_unique<StateStore>(parts_->loop, path);
  auto text = read_file(path, 256 * 1024 * 1024);
  if (text) {
    auto decoded = decode_state(*text);
    if (decoded) {
      parts_->saved = std::move(*decoded);
    } else if (decoded.error().code == make_error_code(Errc::unsupported)) {
      return decoded.error();
    } else {
      parts_->state_lost = true;
      const std::string aside = path + ".corrupt";
      ::rename(path.c_str(), aside.c_str());
      spdlog::error(
          "state file cannot be read path={} error=\"{}\" moved_to={} next=\"sandboxes are rebuilt from the "
          "proxy's memory\"",
          path, decoded.error().message(), aside);
    }
  } else if (text.error().code == boost::system::error_code(ENOENT, boost::system::generic_category())) {
    parts_->state_lost = true;  // a first start, unless there are pins or a proxy that holds listeners
  } else {
    return text.error();
  }
  if (parts_->saved.mark == 0) {
    auto mark = random_mark();
    if (!mark) return mark.error();
    parts_->saved.mark = *mark;
  }
  auto boot = read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!boot) return boot.error();
  while (!boot->empty() && boot->back() == '\n') boot->pop_back();
  if (!parts_->saved.sandboxes.empty() && parts_->saved.boot != *boot) {
    spdlog::info("state file is of an earlier boot; its sandboxes are gone count={}",
                 parts_->saved.sandboxes.size());
    parts_->saved.sandboxes.clear();
  }
  parts_->store->set_head(parts_->saved.mark, std::move(*boot));
  return {};
}

Result<> Agent::open_interception() {
  Interception::Options options;
  options.choice = options_.interception;
  options.iptables_backend = options_.iptables_backend;
  options.datapath.pin_folder = options_.pin_folder;
  options.mesh_cgroup_of_rules = mesh_cgroup_of_rules();
  options.find_cgroups = [choice = CgroupChoice{options_.pods_cgroup, options_.probe_cgroup}](
                             Datapath::Options& out) { return find_node_cgroups(choice, out); };
  for (const auto& text : options_.node_ips) {
    auto ip = IpAddress::parse(text);
    if (!ip) return make_error(Errc::invalid_argument, "--node-ip " + text + " is no IP address");
    parts_->node_ips.push_back(*ip);
  }
  if (parts_->node_ips.empty()) {
    auto found = node_addresses();
    if (!found) return found.error();
    parts_->node_ips = std::move(*found);
  }
  options.datapath.node_addresses = parts_->node_ips;
  const auto& saved = parts_->saved.sandboxes;
  const bool ebpf_leftovers =
      std::any_of(saved.begin(), saved.end(),
                  [](const Sandbox& sandbox) { return sandbox.spec.meshed && sandbox.mode == Mode::ebpf; }) ||
      ::access(options_.pin_folder.c_str(), F_OK) == 0;
  if (auto started = parts_->interception.start(std::move(options), parts_->saved.mark, ebpf_leftovers);
      !started) {
    return started;
  }
  const auto& choice = parts_->interception.node_choice();
  spdlog::info("interception mode={} reason=\"{}\" iptables=\"{}\"", to_string(choice.mode), choice.reason,
               parts_->interception.redirect_status());
  return {};
}

// A bridge gets its address with the node's first pod, and probes come from it.
void Agent::look_for_node_ips() {
  if (!options_.node_ips.empty()) return;
  auto found = node_addresses();
  if (!found || *found == parts_->node_ips) return;
  parts_->node_ips = *found;
  if (auto set = parts_->interception.set_node_addresses(std::move(*found)); !set) {
    spdlog::error("probes may not reach pods error=\"{}\" next=\"restart the agent\"", set.error().message());
  }
  if (parts_->enrolment) parts_->enrolment->look_at_all_rules_again();
}

Result<> Agent::open_directory() {
  if (options_.source != "kubernetes") {
    auto directory = make_directory(options_.source);
    if (!directory) return directory.error();
    parts_->directory = std::move(*directory);
    return {};
  }
  source::KubernetesOptions cluster;
  cluster.kubeconfig = options_.kubeconfig;
  cluster.context = options_.context;
  cluster.insecure_skip_tls_verify = options_.insecure_skip_tls_verify;
  cluster.node_name = options_.node_name;
  auto access =
      source::kubernetes::find_access(cluster.kubeconfig, cluster.context, cluster.insecure_skip_tls_verify);
  if (!access) return access.error();
  auto source = source::make_kubernetes_source(cluster);
  if (!source) return source.error();
  parts_->api = std::make_unique<source::kubernetes::Caller>(std::move(*access));
  parts_->directory = make_cluster_directory(std::move(*source), *parts_->api);
  return {};
}

Result<> Agent::open_enrolment() {
  if (auto opened = open_directory(); !opened) return opened;
  NodeFacts node{options_.node_name, options_.trust_domain, options_.control_namespace,
                 options_.inject_unknown_pods, options_.excluded_namespaces};
  parts_->policy = std::make_unique<PolicyFile>(parts_->folder + "/cni-policy.json", node);
  parts_->enrolment = std::make_unique<Enrolment>(
      Enrolment::Parts{parts_->loop, parts_->interception, *parts_->store, *parts_->directory, node,
                       parts_->folder + "/netns", std::chrono::seconds(options_.release_settle_seconds)});
  if (parts_->api) {
    parts_->events = std::make_unique<EventRecorder>(parts_->loop, *parts_->api, options_.node_name);
    parts_->enrolment->set_witness(
        [parts = parts_.get()](const EventSubject& subject, EventReason reason, std::string message) {
          parts->events->report(subject, reason, std::move(message));
        });
  }
  auto started = parts_->directory->start([parts = parts_.get()] {
    parts->loop.post([parts] {
      parts->policy->update(*parts->directory);
      parts->enrolment->source_changed();
    });
  });
  if (!started) return started;
  parts_->policy->update(*parts_->directory);
  open_certificates();
  return {};
}

void Agent::open_certificates() {
  std::unique_ptr<IdentityClient> client;
  if (!options_.identity_address.empty()) {
    IdentityClient::Options identity;
    identity.address = options_.identity_address;
    identity.trust_anchors = options_.trust_anchors;
    identity.token_file = options_.token_file;
    identity.server_name = "heddle-control." + options_.control_namespace + ".serviceaccount.identity." +
                           options_.control_namespace + "." + options_.trust_domain;
    client = std::make_unique<IdentityClient>(std::move(identity));
  }
  Parts* parts = parts_.get();
  CertificateRequests::TokenOf token_of;
  if (parts_->api && options_.pod_tokens) {
    PodTokens::Options tokens;
    tokens.audience = options_.token_audience;
    parts_->tokens =
        std::make_unique<PodTokens>(parts_->loop, *parts_->api, tokens, [parts](const std::string& uid) {
          const auto& all = parts->enrolment->registry().all();
          return std::any_of(all.begin(), all.end(), [&](const auto& entry) {
            return entry.second.facts.source && entry.second.facts.source->uid == uid;
          });
        });
    token_of = [parts](std::uint32_t pod_id, const std::string& identity, PodTokens::Done done) {
      const Sandbox* pod = parts->enrolment->registry().find_identity(pod_id, identity);
      if (pod == nullptr || !pod->facts.source) {
        return done(make_error(Errc::unavailable, "the API server has not told of the pod yet"));
      }
      parts->tokens->get({pod->spec.ns, pod->spec.name, pod->facts.source->uid, pod->spec.service_account},
                         std::move(done));
    };
  }
  // The pod id is the proxy's example; any live pod of the identity will do.
  parts_->certificates = std::make_unique<CertificateRequests>(
      parts_->loop, std::move(client),
      [parts](std::uint32_t, const std::string& identity) {
        return parts->enrolment->registry().has_identity(identity);
      },
      std::move(token_of));
}

Result<> Agent::open_proxy_link() {
  ProxyLinks::Options options;
  options.path = parts_->folder + "/proxy.sock";
  options.proxy_uid = options_.proxy_uid;
  options.agent_version = version;
  options.node_name = options_.node_name;
  options.drain_grace_seconds = options_.drain_grace_seconds;
  for (const auto& ip : parts_->node_ips) options.node_ips.push_back(ip.to_string());
  ProxyLinks::Owner owner;
  Parts* parts = parts_.get();
  owner.held = [parts](const node::Pod& pod, Fd outbound, Fd inbound) {
    return parts->enrolment->adopt(pod, std::move(outbound), std::move(inbound));
  };
  owner.held_end = [this] {
    if (!parts_->enrolment->wants_listeners()) stop_watching_for_held();
  };
  owner.when_adopted = [parts](std::function<void()> then) {
    parts->enrolment->when_adopted(std::move(then));
  };
  owner.sockets = [parts](std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
    return parts->enrolment->make_sockets(pod_id, ipv6, count);
  };
  owner.certify = [parts](std::uint32_t pod_id, const std::string& identity, const std::string& csr,
                          ProxyLinks::Owner::Answer answer) {
    parts->certificates->request(pod_id, identity, csr, std::move(answer));
  };
  parts_->links = std::make_unique<ProxyLinks>(parts_->loop, std::move(options), std::move(owner));
  parts_->enrolment->connect(*parts_->links);
  return parts_->links->listen();
}

Result<> Agent::open_admin() {
  Parts* parts = parts_.get();
  parts_->drops = std::make_unique<DropLog>(parts_->loop, parts_->enrolment->registry());
  parts_->pages = std::make_unique<AdminPages>(AdminPages::Subjects{
      options_.node_name, *parts_->enrolment, parts_->interception, *parts_->links, *parts_->certificates,
      *parts_->store, *parts_->drops, parts_->ready, parts_->events.get()});
  // A pod's annotation may open eBPF later.
  parts_->drops->watch(parts_->interception.datapath());
  parts_->drops_timer = parts_->loop.every(std::chrono::milliseconds(1000),
                                           [parts] { parts->drops->watch(parts->interception.datapath()); });
  parts_->admin = std::make_unique<HttpServer>(
      parts_->loop, [parts](const HttpRequest& request) { return parts->pages->admin(request); });
  if (auto listening = parts_->admin->listen_unix(parts_->folder + "/admin.sock"); !listening)
    return listening;
  if (options_.http_address.empty()) return {};
  auto address = SocketAddress::parse(options_.http_address);
  if (!address) return make_error(Errc::invalid_argument, "--http-address: " + address.error().message());
  parts_->http = std::make_unique<HttpServer>(
      parts_->loop, [parts](const HttpRequest& request) { return parts->pages->open(request); });
  return parts_->http->listen_tcp(*address);
}

Result<> Agent::start() {
  if (auto limit = raise_fd_limit(); !limit) {
    spdlog::warn("cannot raise the limit of descriptors error=\"{}\"", limit.error().message());
  }
  if (auto done = prepare_folders(); !done) return done;
  if (auto done = open_state(); !done) return done;
  if (auto done = open_interception(); !done) return done;
  if (auto done = open_enrolment(); !done) return done;
  if (auto done = open_proxy_link(); !done) return done;
  if (auto done = open_admin(); !done) return done;
  find_daemonset();
  parts_->signals = parts_->loop.on_signals({SIGTERM, SIGINT}, [this](int signal) { leave(signal); });
  parts_->node_ips_timer =
      parts_->loop.every(std::chrono::milliseconds(5000), [this] { look_for_node_ips(); });
  recover();
  return {};
}

void Agent::find_daemonset() {
  ::unlink((parts_->folder + "/departure").c_str());  // of the agent before
  if (options_.daemonset.empty() || !parts_->api) return;
  parts_->daemonset = std::make_unique<OwnDaemonSet>(parts_->loop, *parts_->api, options_.control_namespace,
                                                     options_.daemonset);
}

// SIGTERM comes when a pod is replaced and when heddle is deleted; only the API server knows which.
void Agent::leave(int signal) {
  const bool first = !std::exchange(parts_->leaving, true);
  if (first && signal == SIGTERM && parts_->daemonset) {
    parts_->daemonset->ask([this](const Departure& departure) { depart(departure); });
    return;
  }
  depart({false, "signal " + std::to_string(signal)});
}

void Agent::depart(const Departure& departure) {
  announce(departure);
  if (!departure.uninstalled) {
    if (parts_->handing_over) return parts_->loop.stop();  // a second signal
    return hand_over(departure);
  }
  spdlog::info("leaving this node reason=\"{}\" note=\"every pod is released\"", departure.reason);
  parts_->uninstalling = true;
  parts_->leaving_deadline = parts_->loop.after(patience_for_releases, [this] { parts_->loop.stop(); });
  parts_->enrolment->release_all([this] { parts_->loop.stop(); });
}

// Agent and proxy may be replaced at the same time: the listeners must not be without both.
void Agent::hand_over(const Departure& departure) {
  // Elsewhere nobody promises that one will come.
  const bool expected = parts_->daemonset != nullptr;
  const bool needed = expected && parts_->enrolment->listeners_held() > 0 && !parts_->links->has_active();
  if (!needed) {
    spdlog::info("stopping reason=\"{}\" note=\"redirections, listeners' escrow and state stay in place\"",
                 departure.reason);
    parts_->loop.stop();
    return;
  }
  spdlog::warn(
      "staying until a proxy has the pods' listeners reason=\"{}\" longest_ms={} next=\"see that "
      "heddle-proxy "
      "runs\"",
      departure.reason, patience_for_proxy.count());
  parts_->leaving_deadline = parts_->loop.after(patience_for_proxy, [this] { parts_->loop.stop(); });
  parts_->handing_over = parts_->loop.every(look_for_proxy, [this] {
    if (parts_->links->has_active()) parts_->loop.stop();
  });
}

// To the installer beside us, which leaves the runtime's chain or stays in it.
void Agent::announce(const Departure& departure) {
  const std::string path = parts_->folder + "/departure";
  auto written = write_file_atomically(path, departure.uninstalled ? "uninstalled\n" : "replaced\n", 0600);
  if (!written) {
    spdlog::error(
        "cannot tell the installer path={} error=\"{}\" next=\"run `heddle-cni uninstall` when "
        "heddle leaves this node\"",
        path, written.error().message());
  }
}

void Agent::recover() {
  // A missing file is a first start unless something is redirected.
  const bool pinned =
      parts_->interception.datapath() != nullptr && !parts_->interception.datapath()->pods().empty();
  const bool lost =
      parts_->state_lost && (pinned || ::access((parts_->folder + "/pods.json.corrupt").c_str(), F_OK) == 0);
  parts_->enrolment->recover(std::move(parts_->saved.sandboxes), lost);
  if (!lost && !parts_->enrolment->wants_listeners()) {
    recovered();
    return;
  }
  parts_->held_deadline = parts_->loop.after(patience_for_held, [this] { stop_watching_for_held(); });
}

void Agent::stop_watching_for_held() {
  if (!parts_->held_deadline) return;
  parts_->held_deadline.reset();
  recovered();
}

void Agent::recovered() {
  parts_->enrolment->finish_recovery([this] {
    parts_->links->start_snapshots();
    const auto& all = parts_->enrolment->registry().all();
    const bool ebpf_used = std::any_of(all.begin(), all.end(), [](const auto& entry) {
      return entry.second.spec.meshed && entry.second.mode == Mode::ebpf;
    });
    if (parts_->interception.node_choice().mode == Mode::iptables && !ebpf_used) {
      parts_->drops->watch(nullptr);
      parts_->interception.retire_datapath();
    }
    if (auto opened = open_doors(); !opened) {
      parts_->ended = opened;
      parts_->loop.stop();
      return;
    }
    parts_->ready = true;
    spdlog::info("ready node={} sandboxes={} mode={} version={}", options_.node_name, all.size(),
                 to_string(parts_->interception.node_choice().mode), version);
  });
}

Result<> Agent::open_doors() {
  Parts* parts = parts_.get();
  parts_->cni = std::make_unique<CniServer>(
      parts_->loop, parts_->folder + "/cni.sock",
      [this, parts](CniCall call, Fd netns, CniServer::Reply reply) {
        if (parts->uninstalling && call.command == CniCommand::add) {
          reply({CniCode::try_again, "heddle is leaving this node", "the runtime tries again by itself"});
          return;
        }
        if (call.command == CniCommand::add) look_for_node_ips();
        parts->enrolment->handle(std::move(call), std::move(netns), std::move(reply));
      },
      [parts](const CniCall& call, const CniAnswer& answer, std::chrono::microseconds took) {
        parts->pages->count(call, answer, took);
        spdlog::log(answer.code == CniCode::ok ? spdlog::level::debug : spdlog::level::warn,
                    "cni command={} container={} code={} took_us={} msg=\"{}\" details=\"{}\"",
                    to_string(call.command), call.container_id, static_cast<unsigned>(answer.code),
                    took.count(), answer.msg, answer.details);
      });
  return parts_->cni->listen();
}

Result<> Agent::run() {
  parts_->loop.run();
  return parts_->uninstalling ? remove_traces() : parts_->ended;
}

Result<> Agent::uninstall() {
  if (auto done = prepare_folders(); !done) return done;
  if (auto done = open_state(); !done) return done;
  if (auto done = open_interception(); !done) return done;
  options_.source = "none";
  if (auto done = open_enrolment(); !done) return done;
  if (auto done = open_proxy_link(); !done) return done;
  parts_->enrolment->recover(std::move(parts_->saved.sandboxes), false);
  parts_->enrolment->release_all([this] { parts_->loop.stop(); });
  parts_->loop.run();
  return remove_traces();
}

// Once every sandbox was released or could not be.
Result<> Agent::remove_traces() {
  const std::size_t left = parts_->enrolment->registry().size();
  if (Datapath* datapath = parts_->interception.datapath()) {
    if (auto gone = datapath->uninstall(); !gone) return gone;
  }
  if (left > 0) {
    return make_error(Errc::unavailable,
                      std::to_string(left) + " sandboxes could not be released; see above");
  }
  for (const char* name : {"/pods.json", "/cni-policy.json", "/cni.sock", "/proxy.sock", "/admin.sock"}) {
    ::unlink((parts_->folder + name).c_str());
  }
  ::rmdir((parts_->folder + "/netns").c_str());
  ::unlink((parts_->folder + "/lock").c_str());
  spdlog::info("uninstalled run_dir={} pin_folder={}", options_.run_dir, options_.pin_folder);
  return {};
}

}  // namespace heddle::agent
