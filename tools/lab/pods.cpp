// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/pods.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "tools/lab/network.h"
#include "tools/lab/probe.h"
#include "tools/process/spawn.h"

namespace heddle::tools {

namespace json = boost::json;
using namespace std::chrono_literals;

struct PodRunner::Node {
  LabNode plan;
  int netns = -1;
  bool ready = false;
};

struct PodRunner::Container {
  const LabContainer* plan = nullptr;
  bool init = false;
  pid_t pid = 0;
  std::optional<int> exit_status;  // of the last run
  unsigned restarts = 0;
  Clock::time_point due{}, started{}, probe_due{}, probe_deadline{};
  std::chrono::milliseconds backoff{500};
  pid_t probe_pid = 0;
  unsigned passes = 0, failures = 0;
  bool ready = false;
};

struct PodRunner::Pod {
  LabPod plan;
  Node* node = nullptr;
  std::string netns;  // path
  Fd netns_fd;
  bool sandbox = false;
  std::vector<Container> containers;  // init containers first
  LabPodStatus status;
  std::string message;
  Clock::time_point due{};
  std::chrono::milliseconds backoff{200};
  double add_ms = 0;
  bool removing = false;
  Clock::time_point kill_at{};
};

namespace {

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char out[32];
  std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return out;
}

}  // namespace

PodRunner::PodRunner(const LabLayout& layout, const LabOptions& options)
    : layout_(layout), options_(options) {}
PodRunner::~PodRunner() = default;

void PodRunner::set_node(const LabNode& node, int netns, bool ready) {
  for (auto& known : nodes_) {
    if (known->plan.name == node.name) {
      known->ready = ready;
      return;
    }
  }
  nodes_.push_back(std::make_unique<Node>(Node{node, netns, ready}));
}

bool PodRunner::contains(const std::string& key) const {
  return std::any_of(pods_.begin(), pods_.end(), [&](const auto& pod) { return pod->plan.key() == key; });
}

std::vector<std::string> PodRunner::keys() const {
  std::vector<std::string> out;
  for (const auto& pod : pods_) {
    if (!pod->removing) out.push_back(pod->plan.key());
  }
  return out;
}

void PodRunner::add(const LabPod& plan, const LabPlan& lab) {
  auto pod = std::make_unique<Pod>();
  pod->plan = plan;
  pod->netns = layout_.netns("pod-" + plan.uid);
  for (auto& node : nodes_) {
    if (node->plan.name == plan.node) pod->node = node.get();
  }
  pod->status.host_ip = pod->node->plan.ip4.to_string();
  for (const auto& container : pod->plan.init_containers) {
    pod->containers.emplace_back().plan = &container;
    pod->containers.back().init = true;
  }
  for (const auto& container : pod->plan.containers) pod->containers.emplace_back().plan = &container;
  if (auto prepared = prepare_volumes(plan, lab); !prepared) pod->message = prepared.error().message();
  pods_.push_back(std::move(pod));
  changed_ = true;
}

Result<> PodRunner::prepare_volumes(const LabPod& pod, const LabPlan& plan) const {
  for (const auto& [name, volume] : pod.volumes) {
    if (volume.kind == LabVolume::Kind::host_path) continue;
    const auto folder = layout_.pod(pod.uid) + "/" + name;
    if (auto made = make_directories(folder); !made) return made;
    if (volume.kind == LabVolume::Kind::empty_dir) {
      ::chmod(folder.c_str(), 0777);  // as Kubernetes makes them; umask would take the w away
      continue;
    }
    const auto files = plan.config_maps.find(pod.ns + "/" + volume.source);
    if (files == plan.config_maps.end()) {
      return make_error(Errc::not_found,
                        "ConfigMap " + pod.ns + "/" + volume.source + " does not exist; add it");
    }
    for (const auto& [file, content] : files->second) {
      if (auto put = write_file_atomically(folder + "/" + file, content, 0644); !put) return put;
    }
  }
  return {};
}

json::object PodRunner::network_list(const Node& node) const {
  // hairpinMode: a pod may reach itself through its service; it also makes the plugin switch duplicate
  // address detection off, which would add two seconds to every pod with an IPv6 address.
  json::object bridge{{"type", "bridge"},
                      {"bridge", "cni0"},
                      {"isDefaultGateway", true},
                      {"ipMasq", false},
                      {"hairpinMode", true},
                      {"ipam",
                       {{"type", "host-local"},
                        {"dataDir", layout_.node(node.plan.name) + "/ipam"},
                        {"ranges", json::array{json::array{json::object{{"subnet", node.plan.pods4}}},
                                               json::array{json::object{{"subnet", node.plan.pods6}}}}}}}};
  json::array plugins{std::move(bridge),
                      json::object{{"type", "portmap"}, {"capabilities", {{"portMappings", true}}}}};
  if (options_.mesh) {
    plugins.push_back(json::object{{"type", "heddle-cni"},
                                   {"runDir", layout_.run_dir(node.plan.name)},
                                   {"capabilities", {{"io.kubernetes.cri.pod-annotations", true}}}});
  }
  return {{"cniVersion", "1.0.0"}, {"name", "heddle-lab"}, {"plugins", std::move(plugins)}};
}

CniAttachment PodRunner::attachment(const Pod& pod) const {
  CniAttachment out;
  out.container_id = "lab-" + layout_.name + "-" + pod.plan.uid;
  out.netns = pod.netns;
  out.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + pod.plan.ns + ";K8S_POD_NAME=" + pod.plan.name +
             ";K8S_POD_INFRA_CONTAINER_ID=" + out.container_id + ";K8S_POD_UID=" + pod.plan.uid;
  if (!pod.plan.port_mappings.empty()) out.capabilities["portMappings"] = pod.plan.port_mappings;
  json::object annotations;
  for (const auto& [name, value] : pod.plan.annotations) annotations[name] = value;
  out.capabilities["io.kubernetes.cri.pod-annotations"] = std::move(annotations);
  return out;
}

CniRuntime PodRunner::runtime(const Node& node) const {
  CniRuntime out;
  out.bin_folders = options_.cni_bin_dirs;
  if (const auto heddle = find_program("heddle-cni", options_.bin_dir)) {
    out.bin_folders.insert(out.bin_folders.begin(), std::filesystem::path(*heddle).parent_path());
  }
  out.node_netns = node.netns;
  out.cache_folder = layout_.node(node.plan.name) + "/cni-results";
  return out;
}

void PodRunner::start_sandbox(Pod& pod, Clock::time_point now) {
  const auto retry = [&](const std::string& why) {
    drop_netns(pod.netns);
    pod.netns_fd.reset();
    if (pod.message != why) spdlog::warn("sandbox failed pod={}: {}; trying again", pod.plan.key(), why);
    pod.message = why;
    pod.due = now + pod.backoff;
    pod.backoff = std::min<std::chrono::milliseconds>(pod.backoff * 2, 5s);
    changed_ = true;
  };
  if (auto made = make_netns(pod.netns); !made) return retry(made.error().message());
  auto fd = open_netns(pod.netns);
  if (!fd) return retry(fd.error().message());
  pod.netns_fd = std::move(*fd);
  const auto begun = Clock::now();
  auto result = cni_add(runtime(*pod.node), network_list(*pod.node), attachment(pod));
  if (!result) return retry(result.error().detail);
  pod.add_ms = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
  pod.sandbox = true;
  pod.message.clear();
  pod.status.ips = cni_result_ips(*result);
  pod.status.started = now_text();
  spdlog::info("sandbox ready pod={} ip={} cni_ms={:.1f}", pod.plan.key(),
               pod.status.ips.empty() ? "none" : pod.status.ips.front(), pod.add_ms);
  changed_ = true;
}

Result<> PodRunner::start_container(Pod& pod, Container& container) {
  const auto& plan = *container.plan;
  SpawnSpec spec;
  spec.argv = plan.argv;
  spec.clear_env = true;
  spec.env = plan.env;
  spec.env.try_emplace("HOSTNAME", pod.plan.name);
  spec.env.try_emplace("HOME", "/");
  spec.hostname = pod.plan.name;
  spec.working_directory = plan.working_directory;
  spec.cgroup = layout_.kubepods(pod.plan.node) + "/pod" + pod.plan.uid + "/" + plan.name;
  if (auto made = make_directories(spec.cgroup); !made) return made;
  spec.netns = pod.netns_fd.get();
  spec.mounts = {{layout_.root + "/hosts/" + pod.plan.ns, "/etc/hosts"},
                 {layout_.root + "/resolv.conf", "/etc/resolv.conf"}};
  for (const auto& mount : plan.mounts) {
    const auto& volume = pod.plan.volumes.at(mount.volume);
    auto source = volume.kind == LabVolume::Kind::host_path ? volume.source
                                                            : layout_.pod(pod.plan.uid) + "/" + volume.name;
    if (!mount.sub_path.empty()) source += "/" + mount.sub_path;
    spec.scratch_mnt = spec.scratch_mnt || mount.path.starts_with("/mnt/");
    spec.mounts.push_back({source, mount.path});
  }
  spec.uid = plan.uid;
  spec.gid = plan.gid;
  spec.output_file = layout_.logs() + "/" + pod.plan.ns + "_" + pod.plan.name + "_" + plan.name + ".log";
  auto pid = spawn(spec);
  if (!pid) return pid.error();
  container.pid = *pid;
  container.started = Clock::now();
  container.exit_status.reset();
  container.passes = container.failures = 0;
  container.ready = plan.readiness.kind == LabProbe::Kind::none;
  container.probe_due = container.started + std::chrono::seconds(plan.readiness.initial_delay_s);
  return {};
}

void PodRunner::start_containers(Pod& pod, Clock::time_point now) {
  for (auto& container : pod.containers) {
    if (container.init && container.pid > 0) return;  // one after the other
    if (container.pid > 0 || container.due > now) {
      if (container.init) return;
      continue;
    }
    if (container.exit_status) {
      const bool failed = *container.exit_status != 0;
      const bool again = container.init ? failed && pod.plan.restart_on_failure
                                        : pod.plan.restart_always || (failed && pod.plan.restart_on_failure);
      if (!again) {
        if (container.init && failed) return;
        continue;
      }
      ++container.restarts;
    }
    if (auto started = start_container(pod, container); !started) {
      pod.message = "container " + container.plan->name + ": " + started.error().message();
      spdlog::error("container cannot start pod={} {}", pod.plan.key(), pod.message);
      container.due = now + container.backoff;
      container.backoff = std::min<std::chrono::milliseconds>(container.backoff * 2, 10s);
    }
    changed_ = true;
    if (container.init) return;
  }
}

void PodRunner::container_ended(Pod& pod, Container& container, int status) {
  const auto now = Clock::now();
  container.pid = 0;
  container.exit_status = status;
  container.ready = false;
  if (now - container.started > 10s) container.backoff = 500ms;
  container.due = container.init && status == 0 ? now : now + container.backoff;
  container.backoff = std::min<std::chrono::milliseconds>(container.backoff * 2, 10s);
  if (status != 0 && !pod.removing) {
    pod.message = "container " + container.plan->name + " ended with " + Exit{status}.to_string();
    spdlog::warn("container ended pod={} container={} {}", pod.plan.key(), container.plan->name,
                 Exit{status}.to_string());
  }
  changed_ = true;
}

void PodRunner::probe_ended(Pod& pod, Container& container, int status) {
  container.probe_pid = 0;
  if (container.pid == 0) return;
  const auto& plan = container.plan->readiness;
  const bool was = container.ready;
  if (status == 0) {
    container.failures = 0;
    if (++container.passes >= plan.success_threshold) container.ready = true;
  } else {
    container.passes = 0;
    if (++container.failures >= plan.failure_threshold) container.ready = false;
  }
  if (was != container.ready) {
    spdlog::info("readiness changed pod={} container={} ready={}", pod.plan.key(), container.plan->name,
                 container.ready);
    changed_ = true;
  }
}

void PodRunner::probe(Pod& pod, Container& container, Clock::time_point now, Clock::time_point& next) {
  const auto& plan = container.plan->readiness;
  if (plan.kind == LabProbe::Kind::none || container.pid == 0 || container.init || pod.status.ips.empty())
    return;
  if (container.probe_pid > 0) {
    if (now > container.probe_deadline) ::kill(container.probe_pid, SIGKILL);
    next = std::min(next, std::max(container.probe_deadline, now + 20ms));
    return;
  }
  if (container.probe_due > now) {
    next = std::min(next, container.probe_due);
    return;
  }
  Result<pid_t> pid = pid_t{0};
  if (plan.kind == LabProbe::Kind::exec) {
    SpawnSpec spec;
    spec.argv = plan.command;
    spec.clear_env = true;
    spec.env = container.plan->env;
    spec.cgroup = layout_.kubepods(pod.plan.node) + "/pod" + pod.plan.uid + "/" + container.plan->name;
    spec.netns = pod.netns_fd.get();
    spec.mount_ns_of = container.pid;
    spec.output_file = "/dev/null";
    pid = spawn(spec);
  } else {
    pid = start_network_probe(plan, pod.status.ips.front(), pod.node->netns,
                              layout_.system_cgroup(pod.plan.node, "kubelet"));
  }
  // A pod that never was ready is probed five times a second: Kubernetes' rounding up to periods is no use in
  // a lab.
  container.probe_due = now + (container.ready ? std::chrono::milliseconds(plan.period_s * 1000) : 200ms);
  container.probe_deadline = now + std::chrono::milliseconds(plan.timeout_s * 1000 + 200);
  if (pid) {
    container.probe_pid = *pid;
  } else {
    probe_ended(pod, container, -1);
  }
  next = std::min(next, container.probe_due);
}

bool PodRunner::ended(pid_t pid, int status) {
  for (auto& pod : pods_) {
    for (auto& container : pod->containers) {
      if (container.pid == pid) {
        container_ended(*pod, container, status);
        return true;
      }
      if (container.probe_pid == pid) {
        probe_ended(*pod, container, status);
        return true;
      }
    }
  }
  return false;
}

void PodRunner::update_phase(Pod& pod) {
  auto next = pod.status;
  bool running = false, all_done = true, failed = false, ready = pod.sandbox;
  for (const auto& container : pod.containers) {
    if (container.init) continue;
    running = running || container.pid > 0;
    all_done = all_done && container.pid == 0 && container.exit_status.has_value();
    failed = failed || (container.exit_status && *container.exit_status != 0);
    ready = ready && container.pid > 0 && container.ready;
  }
  const bool final = all_done && !pod.plan.restart_always && !(failed && pod.plan.restart_on_failure);
  if (final) {
    next.phase = failed ? "Failed" : "Succeeded";
  } else if (running || pod.status.phase == "Running") {
    next.phase = "Running";
  }
  next.ready = ready;
  if (next.phase != pod.status.phase || next.ready != pod.status.ready) changed_ = true;
  pod.status = std::move(next);
}

void PodRunner::remove(const std::string& key) {
  for (auto& pod : pods_) {
    if (pod->plan.key() != key || pod->removing) continue;
    pod->removing = true;
    pod->kill_at = Clock::now() + 2s;
    for (auto& container : pod->containers) {
      if (container.pid > 0) ::kill(-container.pid, SIGTERM);
    }
    changed_ = true;
  }
}

void PodRunner::finish_removal(Pod& pod) {
  if (pod.sandbox) {
    if (auto deleted = cni_del(runtime(*pod.node), network_list(*pod.node), attachment(pod)); !deleted) {
      spdlog::warn("CNI DEL failed pod={}: {}", pod.plan.key(), deleted.error().detail);
    }
  }
  pod.netns_fd.reset();
  drop_netns(pod.netns);
  const auto cgroup = layout_.kubepods(pod.plan.node) + "/pod" + pod.plan.uid;
  for (const auto& container : pod.containers) ::rmdir((cgroup + "/" + container.plan->name).c_str());
  ::rmdir(cgroup.c_str());
  std::error_code failed;
  std::filesystem::remove_all(layout_.pod(pod.plan.uid), failed);
}

PodRunner::Clock::time_point PodRunner::tick(Clock::time_point now) {
  auto next = Clock::time_point::max();
  bool added = false;
  for (auto& pod : pods_) {
    if (pod->removing) {
      const bool alive =
          std::any_of(pod->containers.begin(), pod->containers.end(),
                      [](const auto& container) { return container.pid > 0 || container.probe_pid > 0; });
      if (alive && now >= pod->kill_at) {
        for (auto& container : pod->containers) {
          if (container.pid > 0) ::kill(-container.pid, SIGKILL);
        }
        pod->kill_at = now + 2s;
      }
      if (!alive) {
        finish_removal(*pod);
        pod.reset();
        changed_ = true;
      } else {
        next = std::min(next, pod->kill_at);
      }
      continue;
    }
    if (!pod->sandbox && pod->node->ready) {
      if (pod->due > now) {
        next = std::min(next, pod->due);
      } else if (added) {
        next = now;  // one sandbox per round, so that probes and requests are served in between
      } else {
        start_sandbox(*pod, now);
        added = true;
      }
    }
    if (pod->sandbox) {
      start_containers(*pod, Clock::now());
      for (auto& container : pod->containers) {
        if (container.pid == 0 && container.due > now) next = std::min(next, container.due);
        probe(*pod, container, Clock::now(), next);
      }
    }
    update_phase(*pod);
  }
  std::erase(pods_, nullptr);
  return next;
}

std::vector<std::pair<const LabPod*, LabPodStatus>> PodRunner::states() const {
  std::vector<std::pair<const LabPod*, LabPodStatus>> out;
  for (const auto& pod : pods_) {
    auto status = pod->status;
    status.ready = status.ready && !pod->removing;
    out.emplace_back(&pod->plan, std::move(status));
  }
  return out;
}

json::array PodRunner::to_json() const {
  json::array out;
  for (const auto& pod : pods_) {
    json::array ips, containers;
    unsigned restarts = 0;
    for (const auto& ip : pod->status.ips) ips.push_back(json::value(ip));
    for (const auto& container : pod->containers) {
      restarts += container.restarts;
      json::object entry{{"name", container.plan->name},
                         {"pid", container.pid},
                         {"ready", container.ready},
                         {"restarts", container.restarts}};
      if (container.exit_status) entry["lastExit"] = Exit{*container.exit_status}.to_string();
      containers.push_back(std::move(entry));
    }
    out.push_back(json::object{{"namespace", pod->plan.ns},
                               {"name", pod->plan.name},
                               {"node", pod->plan.node},
                               {"uid", pod->plan.uid},
                               {"phase", pod->removing ? "Terminating" : pod->status.phase},
                               {"ready", pod->status.ready},
                               {"ips", std::move(ips)},
                               {"netns", pod->netns},
                               {"message", pod->message},
                               {"restarts", restarts},
                               {"cniAddMs", pod->add_ms},
                               {"containers", std::move(containers)}});
  }
  return out;
}

}  // namespace heddle::tools
