// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/commands.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "base/io/unix_message.h"
#include "tools/http/client.h"
#include "tools/lab/client.h"
#include "tools/lab/plan.h"
#include "tools/lab/yaml.h"
#include "tools/output/walk.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

Result<> require_root() {
  if (::geteuid() == 0) return {};
  return make_error(Errc::permission_denied,
                    "a lab makes network namespaces and cgroups: run this as root (sudo)");
}

// Checks everything that can be known before anything is made.
Result<> prepare(const LabLayout& layout, const LabOptions& options) {
  auto objects = load_objects(options.folder);
  if (!objects) return objects.error();
  if (auto plan = make_plan(*objects); !plan) return plan.error();
  if (options.mesh) {
    for (const auto* name : {"heddle-agent", "heddle-proxy", "heddle-control", "heddle-cni"}) {
      if (auto found = find_program(name, options.bin_dir); !found) {
        return make_error(Errc::not_found, found.error().detail + " (or --no-mesh for a lab without heddle)");
      }
    }
  }
  if (auto made = make_directories(layout.root); !made) return made;
  json::array all;
  for (auto& object : *objects) all.push_back(std::move(object));
  const json::object list{{"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(all)}};
  if (auto put = write_file_atomically(layout.root + "/objects.json", json::serialize(list), 0644); !put)
    return put;
  return write_file_atomically(layout.root + "/lab.json", json::serialize(to_json(options)), 0644);
}

Result<pid_t> start_daemon(const LabLayout& layout) {
  SpawnSpec spec;
  spec.argv = {own_program(), "lab-daemon", layout.name};
  spec.cgroup = layout.cgroup + "/daemon";
  spec.output_file = layout.root + "/daemon.log";
  spec.working_directory = "/";
  if (auto made = make_directories(spec.cgroup); !made) return made.error();
  return spawn(spec);
}

Result<> wait_for_daemon(const LabLayout& layout, pid_t daemon, Clock::time_point deadline) {
  while (Clock::now() < deadline) {
    if (::access(layout.socket().c_str(), F_OK) == 0 && ask_lab(layout, {{"op", "status"}})) return {};
    if (auto failed = read_file(layout.root + "/failed")) return make_error(Errc::internal, *failed);
    if (::waitpid(daemon, nullptr, WNOHANG) == daemon) {
      const auto log = read_file(layout.root + "/daemon.log");
      return make_error(Errc::internal, "the lab's daemon ended: " + (log ? *log : std::string()));
    }
    ::usleep(5'000);
  }
  return make_error(Errc::timeout, "the lab's daemon did not answer");
}

// Until every node's proxy serves its meshed pods, so that what a person tries next need not wait for it. Not
// an error when it takes too long: connections wait, and `heddle status` says so.
void wait_for_proxies(const LabLayout& layout, Clock::time_point deadline) {
  auto status = ask_lab(layout, {{"op", "status"}});
  if (!status) return;
  for (const auto& node : status->at("nodes").as_array()) {
    const auto socket = text_at(node.as_object(), {"runDir"}) + "/agent/admin.sock";
    const auto waits = [&] {
      auto reply = http_get(socket, "/metrics", 500ms);
      return !reply || reply->body.find("\nheddle_agent_pods_waiting_for_proxy 0\n") == std::string::npos;
    };
    while (waits() && Clock::now() < deadline) ::usleep(10'000);
  }
}

bool settled(const json::object& pod) {
  const auto phase = text_at(pod, {"phase"});
  return phase == "Succeeded" || (phase == "Running" && text_at(pod, {"ready"}) == "true");
}

}  // namespace

Result<> lab_up(const LabOptions& given, std::chrono::milliseconds timeout, bool quiet) {
  if (auto root = require_root(); !root) return root;
  auto layout = LabLayout::of(given.name);
  if (!layout) return layout.error();
  if (std::filesystem::exists(layout->root) || std::filesystem::exists(layout->cgroup)) {
    return make_error(Errc::already_exists, "lab " + given.name +
                                                " is up (or half up); take it down with `heddle lab "
                                                "down --name " +
                                                given.name + "` or choose another --name");
  }
  LabOptions options = given;
  options.folder = std::filesystem::absolute(given.folder);
  const auto begun = Clock::now();
  auto prepared = prepare(*layout, options);
  Result<pid_t> daemon = pid_t{0};
  if (prepared) {
    daemon = start_daemon(*layout);
    if (!daemon) prepared = daemon.error();
  }
  if (prepared) prepared = wait_for_daemon(*layout, *daemon, Clock::now() + 20s);
  if (!prepared) {
    (void)remove_lab(*layout);
    return prepared;
  }
  if (!quiet)
    std::fprintf(stderr, "lab %s: network and programs started, waiting for pods\n", given.name.c_str());
  if (auto ready = wait_for_pods(*layout, timeout); !ready) return ready;
  if (options.mesh) wait_for_proxies(*layout, begun + timeout);
  if (!quiet) {
    const auto took = std::chrono::duration<double>(Clock::now() - begun).count();
    std::fprintf(
        stderr,
        "lab %s: up in %.1f s; try `heddle lab list`, `heddle status`, `heddle lab exec POD -- CMD`\n",
        given.name.c_str(), took);
  }
  return {};
}

Result<> lab_down(const std::string& name) {
  if (auto root = require_root(); !root) return root;
  auto layout = LabLayout::of(name);
  if (!layout) return layout.error();
  return remove_lab(*layout);
}

Result<LabLayout> find_lab(const std::string& name) {
  if (!name.empty()) return LabLayout::of(name);
  const auto names = lab_names();
  if (names.empty())
    return make_error(Errc::not_found, "no lab is up; bring one up with `heddle lab up FOLDER`");
  // The name that `lab up` gives by itself is meant when nothing else is said.
  if (std::find(names.begin(), names.end(), LabOptions().name) != names.end())
    return LabLayout::of(LabOptions().name);
  if (names.size() > 1) {
    std::string all;
    for (const auto& each : names) all += (all.empty() ? "" : ", ") + each;
    return make_error(Errc::invalid_argument, "several labs are up (" + all + "); choose one with --name");
  }
  return LabLayout::of(names.front());
}

Result<> wait_for_pods(const LabLayout& layout, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (true) {
    auto status = ask_lab(layout, {{"op", "status"}});
    if (!status) return status.error();
    std::string waiting;
    std::size_t count = 0;
    for (const auto& value : status->at("pods").as_array()) {
      const auto& pod = value.as_object();
      if (settled(pod)) continue;
      if (++count > 5) continue;
      waiting += "\n  " + text_at(pod, {"namespace"}) + "/" + text_at(pod, {"name"}) + ": " +
                 text_at(pod, {"phase"}) +
                 (text_at(pod, {"message"}).empty() ? "" : ", " + text_at(pod, {"message"}));
    }
    // A connection to a service's address made before the nodes' rules know its pods would never be
    // translated: the kernel decides that once per connection.
    if (count == 0 && text_at(*status, {"servicesReachable"}) == "true") return {};
    if (Clock::now() > deadline) {
      for (const auto& value : status->at("nodes").as_array()) {
        if (text_at(value.as_object(), {"ready"}) != "true") {
          waiting += "\n  node " + text_at(value.as_object(), {"name"}) + ": heddle-agent is not ready";
        }
      }
      if (count == 0) waiting += "\n  services: their rules are not in place";
      return make_error(Errc::timeout, std::to_string(count) + " pods are not ready after " +
                                           std::to_string(timeout.count() / 1000) + " s:" + waiting +
                                           "\nlogs are in " + layout.logs());
    }
    ::usleep(20'000);
  }
}

Result<PodPlace> find_pod(const LabLayout& layout, const std::string& wanted, const std::string& container) {
  auto status = ask_lab(layout, {{"op", "status"}});
  if (!status) return status.error();
  const bool deployment = wanted.starts_with("deploy/") || wanted.starts_with("deployment/");
  const auto rest = deployment ? wanted.substr(wanted.find('/') + 1) : wanted;
  std::vector<PodPlace> found;
  for (const auto& value : status->at("pods").as_array()) {
    const auto& pod = value.as_object();
    PodPlace place{text_at(pod, {"namespace"}),
                   text_at(pod, {"name"}),
                   text_at(pod, {"node"}),
                   text_at(pod, {"uid"}),
                   text_at(pod, {"netns"}),
                   {},
                   {},
                   0};
    const auto& ips = pod.at("ips").as_array();
    if (!ips.empty()) place.ip = ips[0].as_string();
    const auto key = place.ns + "/" + place.name;
    const bool match = deployment ? place.name.starts_with(rest + "-") && text_at(pod, {"ready"}) == "true"
                                  : place.name == rest || key == rest;
    if (!match) continue;
    for (const auto& entry : pod.at("containers").as_array()) {
      const auto name = text_at(entry.as_object(), {"name"});
      const auto pid = static_cast<pid_t>(entry.as_object().at("pid").to_number<int>());
      if (pid > 0 && place.pid == 0 && (container.empty() || name == container)) {
        place.pid = pid;
        place.container = name;
      }
    }
    found.push_back(std::move(place));
  }
  if (found.empty())
    return make_error(Errc::not_found,
                      "no pod " + wanted + " in lab " + layout.name + "; `heddle lab list` shows them");
  if (found.size() > 1 && !deployment) {
    return make_error(Errc::invalid_argument, "several pods are named " + wanted + "; write NAMESPACE/NAME");
  }
  return found.front();
}

Result<SpawnSpec> pod_process(const LabLayout& layout, const PodPlace& place,
                              const std::vector<std::string>& command, Fd& netns) {
  if (place.pid == 0) {
    return make_error(Errc::unavailable,
                      "no container runs in pod " + place.ns + "/" + place.name + "; see " + layout.logs());
  }
  auto opened = open_netns(place.netns);
  if (!opened) return opened.error();
  netns = std::move(*opened);
  SpawnSpec spec;
  spec.argv = command;
  spec.cgroup = layout.kubepods(place.node) + "/pod" + place.uid + "/" + place.container;
  spec.netns = netns.get();
  spec.mount_ns_of = place.pid;
  auto environment = read_file("/proc/" + std::to_string(place.pid) + "/environ");
  if (!environment) return environment.error();
  spec.clear_env = true;
  for (std::size_t at = 0; at < environment->size();) {
    const auto end = std::min(environment->find('\0', at), environment->size());
    const auto entry = environment->substr(at, end - at);
    if (const auto equals = entry.find('='); equals != std::string::npos) {
      spec.env[entry.substr(0, equals)] = entry.substr(equals + 1);
    }
    at = end + 1;
  }
  if (const char* terminal = std::getenv("TERM")) spec.env["TERM"] = terminal;
  return spec;
}

Result<int> lab_exec(const LabLayout& layout, const PodPlace& place,
                     const std::vector<std::string>& command) {
  Fd netns;
  auto spec = pod_process(layout, place, command, netns);
  if (!spec) return spec.error();
  spec->new_session = false;
  spec->null_stdin = false;
  auto pid = spawn(*spec);
  if (!pid) return pid.error();
  // Ctrl-C is the command's: it shares our terminal and process group.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGQUIT, SIG_IGN);
  int exit_status = 0;
  while (::waitpid(*pid, &exit_status, 0) < 0 && errno == EINTR) {
  }
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGQUIT, SIG_DFL);
  return WIFEXITED(exit_status) ? WEXITSTATUS(exit_status) : 128 + WTERMSIG(exit_status);
}

namespace {

// Whether the node's agent has made this process the one that serves: it holds every listener and
// acknowledged every pod. Only then was an older one told to drain.
bool agent_serves_with(const LabLayout& layout, const std::string& node, std::int64_t proxy_pid) {
  auto reply = http_get(layout.run_dir(node) + "/agent/admin.sock", "/state", 500ms);
  boost::system::error_code malformed;
  const auto state = reply ? json::parse(reply->body, malformed) : json::value();
  const auto* proxies =
      !malformed && state.is_object() ? find_array(state.get_object(), {"proxies"}) : nullptr;
  return proxies && std::any_of(proxies->begin(), proxies->end(), [&](const json::value& proxy) {
           const auto* object = proxy.if_object();
           return object && text_at(*object, {"pid"}) == std::to_string(proxy_pid) &&
                  text_at(*object, {"state"}) == "active";
         });
}

// Whether the programs concerned have been replaced and answer.
bool restarted(const LabLayout& layout, const json::object& status, const std::string& program,
               const std::string& node, const std::map<std::string, std::int64_t>& before) {
  for (const auto& value : status.at("programs").as_array()) {
    const auto& entry = value.as_object();
    const auto on = text_at(entry, {"node"});
    if (text_at(entry, {"name"}) != program || (!node.empty() && on != node)) continue;
    const auto pid = entry.at("pid").to_number<std::int64_t>();
    const auto was = before.find(on);
    if (pid == 0 || (was != before.end() && was->second == pid)) return false;
    if (program == "control") continue;
    if (program == "agent") {
      if (!connect_unix(layout.run_dir(on) + "/agent/cni.sock", false)) return false;
      continue;
    }
    if (!agent_serves_with(layout, on, pid)) return false;
  }
  return true;
}

}  // namespace

Result<> lab_restart(const LabLayout& layout, const std::string& program, const std::string& node,
                     bool kill) {
  auto status = ask_lab(layout, {{"op", "status"}});
  if (!status) return status.error();
  std::map<std::string, std::int64_t> before;
  for (const auto& value : status->at("programs").as_array()) {
    const auto& entry = value.as_object();
    if (text_at(entry, {"name"}) == program)
      before[text_at(entry, {"node"})] = entry.at("pid").to_number<std::int64_t>();
  }
  auto asked = ask_lab(layout, {{"op", "restart"}, {"program", program}, {"node", node}, {"kill", kill}});
  if (!asked) return asked.error();
  const auto deadline = Clock::now() + 20s;
  while (Clock::now() < deadline) {
    status = ask_lab(layout, {{"op", "status"}});
    if (!status) return status.error();
    if (restarted(layout, *status, program, node, before)) return {};
    ::usleep(20'000);
  }
  return make_error(Errc::timeout,
                    program + " did not answer within 20 s of its restart; see " + layout.logs());
}

}  // namespace heddle::tools
