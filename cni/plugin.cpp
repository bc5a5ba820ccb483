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
#include "base/io/file.h"
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

// Neither the agent's socket nor its backlog took the question.
bool is_absent(const Error& error) {
  return error.code == boost::system::errc::no_such_file_or_directory ||
         error.code == boost::system::errc::connection_refused ||
         error.code == boost::system::errc::resource_unavailable_try_again;
}

struct Conclusion {
  Outcome<std::string> outcome;
  std::string passed_because{};  // not empty: decided without the agent
};

// An ADD or CHECK that the agent did not serve: pods that are certainly not meshed go on, others wait for it.
Conclusion conclude_unserved(const Environment& environment, const NetworkConfig& config,
                             const Surroundings& surroundings, const node::CniRequest& request, int netns,
                             Result<node::CniReply> reply) {
  const Command command = environment.command;
  Verdict verdict = decide_without_agent(environment.pod, config, surroundings.read_policy(config));
  if (verdict.passes) return {success_output(command, config), std::move(verdict.reason)};
  if (!reply && is_absent(reply.error())) {
    reply = surroundings.make_exchange(command, config, Patience::upgrade)(request, netns);
  }
  auto outcome = reply ? read_reply(command, config, *reply) : without_agent(command, config, reply.error());
  const bool told_to_wait = !outcome && outcome.error().code == static_cast<unsigned>(Code::try_again_later);
  if (told_to_wait && !reply) {
    Failure failed = outcome.error();
    failed.details = verdict.reason + ": it waits for the agent. To start it without the mesh annotate it " +
                     "with linkerd.io/inject: disabled; " + failed.details;
    return {std::move(failed)};
  }
  return {std::move(outcome)};
}

Conclusion run(const Environment& environment, const NetworkConfig& config,
               const Surroundings& surroundings) {
  const Command command = environment.command;
  const auto request = make_request(environment, config);
  if (!request) return {request.error()};
  const auto netns = open_pod(environment);
  if (!netns) return {netns.error()};
  // A pod that need not wait for an agent shall not; only garbage collection has nothing to decide by.
  const Patience patience = command == Command::gc ? Patience::upgrade : Patience::none;
  auto reply = surroundings.make_exchange(command, config, patience)(*request, netns->get());
  const bool can_decide = command == Command::add || command == Command::check;
  if (can_decide && (!reply || is_as_good_as_away(command, *reply))) {
    return conclude_unserved(environment, config, surroundings, *request, netns->get(), std::move(reply));
  }
  if (!reply) return {without_agent(command, config, reply.error())};
  return {read_reply(command, config, *reply)};
}

void log_conclusion(const Environment& environment, const NetworkConfig& config, const Conclusion& conclusion,
                    std::chrono::steady_clock::duration took) {
  if (config.log_file.empty()) return;
  const auto& outcome = conclusion.outcome;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  std::string line = std::string(name_of(environment.command)) + (outcome ? " done" : " failed") +
                     " network=" + config.name + " container=" + environment.container_id +
                     " pod=" + environment.pod.name_space + "/" + environment.pod.name +
                     " netns=" + (environment.netns.empty() ? "none" : environment.netns) +
                     " took_ms=" + std::to_string(ms);
  if (!conclusion.passed_because.empty()) {
    line += " without_agent=\"" + conclusion.passed_because + "\"";
  }
  if (!outcome) line += " code=" + std::to_string(outcome.error().code) + " " + outcome.error().msg;
  append_log(config.log_file, outcome ? LogLevel::info : LogLevel::error, line);
}

Exchange exchange_with_agent(Command command, const NetworkConfig& config, Patience patience) {
  AgentAddress address{config.run_dir + "/agent/cni.sock", {}, config.timeout};
  if (patience == Patience::upgrade) address.connect_for = agent_upgrade_time;
  if (command == Command::del) address.timeout = std::min(address.timeout, longest_del);
  return [address](const node::CniRequest& request, int netns) { return ask_agent(address, request, netns); };
}

Result<Policy> read_policy_file(const NetworkConfig& config) {
  const auto text = read_file(config.run_dir + "/agent/" + std::string(policy_name), max_policy_bytes);
  if (!text) return text.error();
  return parse_policy(*text);
}

}  // namespace

Surroundings real_surroundings() {
  return {exchange_with_agent, read_policy_file};
}

Answer run_plugin(const Variables& variables, std::string_view config_text,
                  const Surroundings& surroundings) {
  const auto start = std::chrono::steady_clock::now();
  const auto environment = parse_environment(variables);
  if (!environment) return failure_answer(environment.error(), version_for_answer(config_text));
  if (environment->command == Command::version) return version_answer(config_text);
  const auto config = parse_config(config_text, environment->command);
  if (!config) return failure_answer(config.error(), version_for_answer(config_text));
  auto conclusion = run(*environment, *config, surroundings);
  log_conclusion(*environment, *config, conclusion, std::chrono::steady_clock::now() - start);
  auto& outcome = conclusion.outcome;
  if (!outcome) {
    return failure_answer(outcome.error(), supported_versions[static_cast<std::size_t>(config->version)]);
  }
  return {std::move(*outcome), 0};
}

}  // namespace heddle::cni
