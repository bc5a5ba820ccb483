// SPDX-License-Identifier: Apache-2.0
#include "cni/plugin.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/fd.h"
#include "cni/log.h"

namespace heddle::cni {
namespace {

constexpr std::chrono::milliseconds agent_upgrade_time{1'000};
// A pod's end must not wait long for an agent that hangs: its start-up check finds the sandbox gone anyway.
constexpr std::chrono::milliseconds longest_del{3'000};

// As base/io/netns.h does, which brings spdlog along. O_NONBLOCK: whatever lies at the path, opening it never
// waits.
Result<Fd> open_netns(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return make_errno(errno, "cannot open " + path);
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return make_error(Errc::invalid_argument, path + " is not a network namespace");
  }
  return fd;
}

bool is_own_netns(int fd) {
  struct stat theirs{};
  struct stat ours{};
  return ::fstat(fd, &theirs) == 0 && ::stat("/proc/self/ns/net", &ours) == 0 &&
         theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

// An empty Fd where the command may go without a namespace.
Outcome<Fd> open_pod(const Environment& environment) {
  if (environment.netns.empty()) return Fd();
  auto fd = open_netns(environment.netns);
  if (!fd) {
    if (environment.command == Command::del) return Fd();
    return failure(Code::invalid_environment, "CNI_NETNS: " + fd.error().message(),
                   "it must be the path of the pod's network namespace, still there; the runtime names it");
  }
  if (is_own_netns(fd->get()) && !environment.own_netns_allowed) {
    if (environment.command == Command::del) return Fd();
    return failure(
        Code::invalid_environment, "CNI_NETNS is the network namespace of the node itself",
        "only pods with a network namespace of their own can be meshed; give the pod no host network");
  }
  return std::move(*fd);
}

Outcome<std::string> run(const Environment& environment, const NetworkConfig& config,
                         const MakeExchange& make_exchange) {
  auto request = make_request(environment, config);
  if (!request) return request.error();
  auto netns = open_pod(environment);
  if (!netns) return netns.error();
  auto reply = make_exchange(environment.command, config)(*request, netns->get());
  if (!reply) return without_agent(environment.command, config, reply.error());
  return read_reply(environment.command, config, *reply);
}

void log_outcome(const Environment& environment, const NetworkConfig& config,
                 const Outcome<std::string>& outcome, std::chrono::steady_clock::duration took) {
  if (config.log_file.empty()) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  std::string line = std::string(name_of(environment.command)) + (outcome ? " done" : " failed") +
                     " network=" + config.name + " container=" + environment.container_id +
                     " pod=" + environment.pod.name_space + "/" + environment.pod.name +
                     " netns=" + (environment.netns.empty() ? "none" : environment.netns) +
                     " took_ms=" + std::to_string(ms);
  if (!outcome) line += " code=" + std::to_string(outcome.error().code) + " " + outcome.error().msg;
  append_log(config.log_file, outcome ? LogLevel::info : LogLevel::error, line);
}

}  // namespace

Exchange agent_exchange(Command command, const NetworkConfig& config) {
  AgentAddress address{config.run_dir + "/agent/cni.sock", agent_upgrade_time, config.timeout};
  if (command == Command::del || command == Command::status) address.connect_for = {};
  if (command == Command::del) address.timeout = std::min(address.timeout, longest_del);
  return [address](const node::CniRequest& request, int netns) { return ask_agent(address, request, netns); };
}

Answer run_plugin(const Variables& variables, std::string_view config_text,
                  const MakeExchange& make_exchange) {
  const auto start = std::chrono::steady_clock::now();
  const auto environment = parse_environment(variables);
  if (!environment) return failure_answer(environment.error(), version_for_answer(config_text));
  if (environment->command == Command::version) return version_answer(config_text);
  const auto config = parse_config(config_text, environment->command);
  if (!config) return failure_answer(config.error(), version_for_answer(config_text));
  auto outcome = run(*environment, *config, make_exchange);
  log_outcome(*environment, *config, outcome, std::chrono::steady_clock::now() - start);
  if (!outcome) {
    return failure_answer(outcome.error(), supported_versions[static_cast<std::size_t>(config->version)]);
  }
  return {std::move(*outcome), 0};
}

}  // namespace heddle::cni
