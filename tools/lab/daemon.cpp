// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "base/io/unix_message.h"
#include "base/log.h"
#include "tools/lab/client.h"
#include "tools/lab/mesh.h"
#include "tools/lab/network.h"
#include "tools/lab/pods.h"
#include "tools/lab/supervisor.h"
#include "tools/lab/yaml.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct NodeState {
  LabNode plan;
  Fd netns;
  bool started = false;  // agent and proxy
  bool ready = false;
};

class Daemon {
 public:
  explicit Daemon(const LabLayout& layout) : layout_(layout) {}

  Result<> set_up();
  void serve();

 private:
  Result<> load();
  Result<> make_nodes();
  Result<> start_node(NodeState& node);
  Clock::time_point start_mesh(Clock::time_point now);
  void reconcile();
  void publish(bool services);
  std::string put(const std::string& kind, const json::object& object);
  std::vector<json::object> with_addresses() const;
  void reap();
  void answer(const Fd& connection);
  json::object handle(const json::object& request);
  json::object apply(const std::string& path);
  json::object remove(const json::object& request);
  json::object restart(const json::object& request);
  json::object status() const;

  LabLayout layout_;
  LabOptions options_;
  std::vector<json::object> objects_;
  LabPlan plan_;
  Fd fabric_, signals_, listener_;
  std::vector<std::unique_ptr<NodeState>> nodes_;
  std::unique_ptr<PodRunner> pods_;
  Supervisor programs_;
  std::map<std::string, std::string> written_;  // file below objects/ -> content
  std::set<std::string> standing_;              // of those, what stays until the plan changes
  bool services_dirty_ = true;
  std::string last_rules_;
  Clock::time_point services_due_{};
};

Result<> Daemon::load() {
  auto settings = load_objects(layout_.root + "/objects.json");
  if (!settings) return settings.error();
  objects_ = std::move(*settings);
  auto text = read_file(layout_.root + "/lab.json");
  if (!text) return text.error();
  options_ = lab_options_from(json::parse(*text).as_object());
  auto plan = make_plan(objects_);
  if (!plan) return plan.error();
  plan_ = std::move(*plan);
  return {};
}

Result<> Daemon::make_nodes() {
  if (auto made = make_fabric(layout_.netns("fabric")); !made) return made;
  auto fabric = open_netns(layout_.netns("fabric"));
  if (!fabric) return fabric.error();
  fabric_ = std::move(*fabric);
  for (const auto& node : plan_.nodes) {
    const auto netns = layout_.netns("node-" + node.name);
    if (auto made = join_fabric(layout_.netns("fabric"), netns, node, plan_.nodes); !made) return made;
    auto fd = open_netns(netns);
    if (!fd) return fd.error();
    for (const auto& folder :
         {layout_.run_dir(node.name), layout_.kubepods(node.name),
          layout_.system_cgroup(node.name, "kubelet"), layout_.system_cgroup(node.name, "agent"),
          layout_.system_cgroup(node.name, "proxy")}) {
      if (auto made = make_directories(folder); !made) return made;
    }
    nodes_.push_back(std::make_unique<NodeState>(NodeState{node, std::move(*fd), false, !options_.mesh}));
    pods_->set_node(node, nodes_.back()->netns.get(), !options_.mesh);
  }
  return {};
}

Result<> Daemon::set_up() {
  if (auto loaded = load(); !loaded) return loaded;
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&mask, signal);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_ = Fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  // Grandchildren that lose their parent (a shell's background jobs) come here to be reaped.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  pods_ = std::make_unique<PodRunner>(layout_, options_);
  for (const auto& folder :
       {layout_.objects(), layout_.logs(), layout_.root + "/netns", layout_.root + "/hosts",
        layout_.root + "/pods", layout_.bpf(), layout_.cgroup + "/control"}) {
    if (auto made = make_directories(folder); !made) return made;
  }
  if (auto made = make_directories(layout_.tokens(), 0700); !made) return made;
  if (auto put = write_file_atomically(layout_.root + "/resolv.conf",
                                       "# a lab has no DNS: names are in /etc/hosts\n", 0644);
      !put) {
    return put;
  }
  if (auto made = make_nodes(); !made) return made;
  if (options_.mesh) {
    if (::mount("bpf", layout_.bpf().c_str(), "bpf", 0, "mode=0700") != 0) {
      return make_errno(errno, "cannot mount a bpffs on " + layout_.bpf());
    }
    if (auto made = make_directories(layout_.control_state()); !made) return made;
    for (const auto& node : plan_.nodes) {
      if (auto made = make_node_token(layout_, node.name); !made) return made;
    }
  }
  reconcile();
  if (options_.mesh) {
    auto control = control_program(layout_, options_, fabric_.get());
    if (!control) return control.error();
    if (auto started = programs_.add("control", "", std::move(*control)); !started) return started;
  }
  auto listener = listen_unix(layout_.socket(), 0600, true);
  if (!listener) return listener.error();
  listener_ = std::move(*listener);
  return {};
}

Result<> Daemon::start_node(NodeState& node) {
  auto agent = agent_program(layout_, options_, node.plan, node.netns.get());
  if (!agent) return agent.error();
  auto proxy = proxy_program(layout_, options_, node.plan, node.netns.get());
  if (!proxy) return proxy.error();
  if (auto started = programs_.add("agent", node.plan.name, std::move(*agent)); !started) return started;
  return programs_.add("proxy", node.plan.name, std::move(*proxy));
}

// Control first (its trust anchors are a file), then every node's programs, then the node is ready for pods.
Clock::time_point Daemon::start_mesh(Clock::time_point now) {
  auto next = Clock::time_point::max();
  if (!options_.mesh) return next;
  const bool anchors = ::access((layout_.control_state() + "/trust-anchors.pem").c_str(), R_OK) == 0;
  for (auto& node : nodes_) {
    if (node->ready) continue;
    next = now + 20ms;
    if (!anchors) continue;
    if (!node->started) {
      node->started = true;
      if (auto started = start_node(*node); !started) {
        spdlog::error("cannot start the mesh of node={}: {}", node->plan.name, started.error().message());
      }
      continue;
    }
    // What a runtime needs of it, and no more: that it takes requests of the plugin.
    if (!connect_unix(layout_.run_dir(node->plan.name) + "/agent/cni.sock", false)) continue;
    node->ready = true;
    pods_->set_node(node->plan, node->netns.get(), true);
    spdlog::info("node ready node={}", node->plan.name);
  }
  return next;
}

// The object's file below objects/.
std::string Daemon::put(const std::string& kind, const json::object& object) {
  const auto ns = text_at(object, {"metadata", "namespace"});
  auto file = kind + (ns.empty() ? "" : "_" + ns) + "_" + text_at(object, {"metadata", "name"}) + ".json";
  auto text = json::serialize(object);
  auto& known = written_[file];
  if (known == text) return file;
  if (auto put = write_file_atomically(layout_.objects() + "/" + file, text, 0644); !put) {
    spdlog::error("cannot publish an object: {}", put.error().message());
    return file;
  }
  known = std::move(text);
  return file;
}

// Makes what runs follow the plan.
void Daemon::reconcile() {
  std::set<std::string> namespaces = {"default"};
  for (const auto& pod : plan_.pods) namespaces.insert(pod.ns);
  for (const auto& ns : namespaces) {
    // Rewritten in place: the pods' /etc/hosts are bind mounts of this very file.
    const auto path = layout_.root + "/hosts/" + ns;
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const auto text = hosts_file(plan_, ns);
    if (::pwrite(file.get(), text.data(), text.size(), 0) < 0 ||
        ::ftruncate(file.get(), static_cast<off_t>(text.size())) != 0) {
      spdlog::error("cannot write {}: {}", path, std::strerror(errno));
    }
  }
  standing_.clear();
  for (const auto& object : plan_.others) standing_.insert(put(text_at(object, {"kind"}), object));
  for (const auto& node : plan_.nodes) standing_.insert(put("Node", node.object));
  for (const auto& service : plan_.services) standing_.insert(put("Service", service.object));
  std::set<std::string> wanted;
  for (const auto& pod : plan_.pods) {
    wanted.insert(pod.key());
    if (!pods_->contains(pod.key())) pods_->add(pod, plan_);
  }
  for (const auto& key : pods_->keys()) {
    if (!wanted.contains(key)) pods_->remove(key);
  }
  publish(true);
}

// Writes Pods and EndpointSlices as they are now and removes files of what is gone.
void Daemon::publish(bool services) {
  const auto states = pods_->states();
  auto current = standing_;
  for (const auto& [pod, status] : states) current.insert(put("Pod", pod_with_status(*pod, status)));
  for (const auto& service : plan_.services) {
    for (const auto& slice : endpoint_slices(service, states)) current.insert(put("EndpointSlice", slice));
  }
  for (auto it = written_.begin(); it != written_.end();) {
    if (!current.contains(it->first)) {
      ::unlink((layout_.objects() + "/" + it->first).c_str());
      it = written_.erase(it);
    } else {
      ++it;
    }
  }
  services_dirty_ = services_dirty_ || services;
}

// The objects, with the addresses that services were given: their place in the list may change.
std::vector<json::object> Daemon::with_addresses() const {
  auto out = objects_;
  for (const auto& service : plan_.services) {
    for (auto& object : out) {
      if (text_at(object, {"kind"}) == "Service" && namespace_of(object) == service.ns &&
          text_at(object, {"metadata", "name"}) == service.name) {
        object = service.object;
      }
    }
  }
  return out;
}

json::object Daemon::apply(const std::string& path) {
  auto added = load_objects(path);
  if (!added) return {{"error", added.error().message()}};
  auto merged = with_addresses();
  const auto same = [](const json::object& a, const json::object& b) {
    return text_at(a, {"kind"}) == text_at(b, {"kind"}) && namespace_of(a) == namespace_of(b) &&
           text_at(a, {"metadata", "name"}) == text_at(b, {"metadata", "name"});
  };
  for (auto& object : *added) {
    if (text_at(object, {"kind"}) == "Node") return {{"error", "nodes cannot be added to a lab that is up"}};
    const auto old =
        std::find_if(merged.begin(), merged.end(), [&](const auto& o) { return same(o, object); });
    if (old != merged.end()) {
      const auto address = text_at(*old, {"spec", "clusterIP"});
      if (text_at(object, {"kind"}) == "Service" && text_at(object, {"spec", "clusterIP"}).empty() &&
          !address.empty()) {
        object_at(object, "spec")["clusterIP"] = address;
        object_at(object, "spec")["clusterIPs"] = old->at("spec").at("clusterIPs");
      }
      merged.erase(old);
    }
    merged.push_back(std::move(object));
  }
  auto plan = make_plan(merged);
  if (!plan) return {{"error", plan.error().message()}};
  objects_ = std::move(merged);
  plan_ = std::move(*plan);
  reconcile();
  return {{"ok", true}};
}

json::object Daemon::remove(const json::object& request) {
  const auto kind = text_at(request, {"kind"});
  const auto ns = text_at(request, {"namespace"});
  const auto name = text_at(request, {"name"});
  const auto before = objects_.size();
  auto kept = with_addresses();
  std::erase_if(kept, [&](const auto& object) {
    const auto own = text_at(object, {"metadata", "name"});
    const bool matches = name.ends_with('*') ? own.starts_with(name.substr(0, name.size() - 1)) : own == name;
    return text_at(object, {"kind"}) == kind && namespace_of(object) == ns && matches;
  });
  if (kept.size() == before) return {{"error", "no " + kind + " " + ns + "/" + name + " in this lab"}};
  auto plan = make_plan(kept);
  if (!plan) return {{"error", plan.error().message()}};
  objects_ = std::move(kept);
  plan_ = std::move(*plan);
  reconcile();
  return {{"ok", true}};
}

json::object Daemon::restart(const json::object& request) {
  const auto program = text_at(request, {"program"});
  const auto wanted_node = text_at(request, {"node"});
  const bool kill = text_at(request, {"kill"}) == "true";
  if (!options_.mesh) return {{"error", "this lab was brought up with --no-mesh"}};
  std::vector<std::string> nodes;
  if (program == "control") {
    nodes = {""};
  } else {
    for (const auto& node : nodes_) {
      if (wanted_node.empty() || node->plan.name == wanted_node) nodes.push_back(node->plan.name);
    }
    if (nodes.empty()) return {{"error", "no node " + wanted_node + " in this lab"}};
  }
  for (const auto& node : nodes) {
    auto done = program == "proxy" && !kill ? programs_.start_beside(program, node)
                                            : programs_.restart(program, node, kill ? SIGKILL : SIGTERM);
    if (!done) return {{"error", done.error().message()}};
  }
  return {{"ok", true}};
}

json::object Daemon::status() const {
  json::array nodes, services;
  for (const auto& node : nodes_) {
    nodes.push_back(json::object{{"name", node->plan.name},
                                 {"ip", node->plan.ip4.to_string()},
                                 {"ip6", node->plan.ip6.to_string()},
                                 {"pods", node->plan.pods4},
                                 {"ready", node->ready},
                                 {"runDir", layout_.run_dir(node->plan.name)},
                                 {"netns", layout_.netns("node-" + node->plan.name)}});
  }
  for (const auto& service : plan_.services) {
    json::array ips, ports;
    for (const auto& ip : service.cluster_ips) ips.push_back(json::value(ip));
    for (const auto& port : service.ports) ports.push_back(port.port);
    services.push_back(json::object{{"namespace", service.ns},
                                    {"name", service.name},
                                    {"ips", std::move(ips)},
                                    {"ports", std::move(ports)}});
  }
  json::array ignored;
  for (const auto& what : plan_.ignored) ignored.push_back(json::value(what));
  return {{"name", layout_.name},
          {"folder", options_.folder},
          {"mesh", options_.mesh},
          {"interception", options_.interception},
          {"pid", ::getpid()},
          {"nodes", std::move(nodes)},
          {"programs", programs_.state()},
          {"pods", pods_->to_json()},
          {"services", std::move(services)},
          {"servicesReachable", !services_dirty_},
          {"ignored", std::move(ignored)}};
}

json::object Daemon::handle(const json::object& request) {
  const auto op = text_at(request, {"op"});
  if (op == "status") return status();
  if (op == "apply") return apply(text_at(request, {"path"}));
  if (op == "delete") return remove(request);
  if (op == "restart") return restart(request);
  return {{"error", "unknown request " + op}};
}

void Daemon::answer(const Fd& connection) {
  timeval limit{2, 0};  // a client that says nothing must not stop the lab
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  auto request = receive_json(connection.get());
  const auto reply = request ? handle(*request) : json::object{{"error", request.error().message()}};
  (void)send_json(connection.get(), reply);
}

void Daemon::reap() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (!programs_.ended(pid, status)) pods_->ended(pid, status);
  }
}

void Daemon::serve() {
  while (true) {
    const auto now = Clock::now();
    auto next = std::min({now + 1s, start_mesh(now), programs_.tick(now), pods_->tick(now)});
    if (pods_->take_changed()) publish(true);
    if (services_dirty_ && now >= services_due_) {
      services_dirty_ = false;
      services_due_ = now + 50ms;
      const auto rules = service_rules(plan_, pods_->states());
      if (rules != last_rules_) {
        last_rules_ = rules;
        for (const auto& node : nodes_) {
          if (auto set = run_nft(layout_.netns("node-" + node->plan.name), rules); !set) {
            spdlog::warn("service addresses work for meshed pods only on node={}: {}", node->plan.name,
                         set.error().message());
          }
        }
      }
    }
    if (services_dirty_) next = std::min(next, services_due_);
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    pollfd waits[2] = {{signals_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    ::poll(waits, 2, static_cast<int>(std::clamp<std::int64_t>(wait, 0, 1000)));
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGCHLD) return;
    }
    reap();
    while (auto connection = accept_unix(listener_, false)) answer(*connection);
  }
}

}  // namespace

int run_lab_daemon(const LabLayout& layout) {
  (void)start_logging({"lab", "info", "plain"});
  ::umask(022);
  (void)raise_fd_limit();
  Daemon daemon(layout);
  if (auto ready = daemon.set_up(); !ready) {
    spdlog::error("lab cannot be set up: {}", ready.error().message());
    (void)write_file_atomically(layout.root + "/failed", ready.error().message(), 0644);
    return 1;
  }
  daemon.serve();
  return 0;
}

}  // namespace heddle::tools
