// SPDX-License-Identifier: Apache-2.0
#include "cni/environment.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace heddle::cni {
namespace {

constexpr std::array<std::pair<std::string_view, Command>, 6> commands{{{"ADD", Command::add},
                                                                        {"DEL", Command::del},
                                                                        {"CHECK", Command::check},
                                                                        {"GC", Command::gc},
                                                                        {"STATUS", Command::status},
                                                                        {"VERSION", Command::version}}};

constexpr std::size_t max_container_id = 253;     // runtimes use 64; the agent names files by it
constexpr std::size_t max_interface_name = 15;    // IFNAMSIZ - 1
constexpr std::size_t max_kubernetes_name = 253;  // RFC 1123 subdomain, the longest name Kubernetes allows
constexpr std::size_t max_path = 4096;            // PATH_MAX

std::string_view get(const Variables& variables, std::string_view key) {
  const auto found = variables.find(key);
  return found == variables.end() ? std::string_view() : std::string_view(found->second);
}

bool alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool valid_container_id(std::string_view id) {
  return !id.empty() && id.size() <= max_container_id && alphanumeric(id.front()) &&
         std::all_of(id.begin(), id.end(),
                     [](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

// As the kernel's dev_valid_name() has it.
bool valid_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= max_interface_name && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return c == '/' || c == ':' || c <= ' '; });
}

Failure missing(std::string_view variable, std::string_view command) {
  return failure(Code::invalid_environment, std::string(variable) + " is not set",
                 "CNI_COMMAND=" + std::string(command) + " needs it; the container runtime sets it");
}

Failure invalid(std::string_view variable, std::string_view why) {
  return failure(Code::invalid_environment, std::string(variable) + " is not valid", std::string(why));
}

std::optional<Command> find_command(std::string_view text) {
  for (const auto& [name, command] : commands) {
    if (name == text) return command;
  }
  return std::nullopt;
}

// Container, interface and namespace of ADD, DEL and CHECK.
std::optional<Failure> parse_attachment(const Variables& variables, Environment& out) {
  const std::string_view command = name_of(out.command);
  out.container_id = get(variables, "CNI_CONTAINERID");
  out.ifname = get(variables, "CNI_IFNAME");
  out.netns = get(variables, "CNI_NETNS");
  if (out.container_id.empty()) return missing("CNI_CONTAINERID", command);
  if (!valid_container_id(out.container_id)) {
    return invalid("CNI_CONTAINERID", "it must start with a letter or digit and hold only those and . _ -");
  }
  if (out.ifname.empty()) return missing("CNI_IFNAME", command);
  if (!valid_interface_name(out.ifname)) {
    return invalid("CNI_IFNAME", "an interface name has 1 to 15 bytes without '/', ':' and spaces");
  }
  // A DEL after a reboot or by containerd has none: the sandbox is found by its container id.
  if (out.netns.empty() && out.command != Command::del) return missing("CNI_NETNS", command);
  if (out.netns.size() > max_path) return invalid("CNI_NETNS", "a path has at most 4096 bytes");
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Command command) {
  return std::find_if(commands.begin(), commands.end(),
                      [&](const auto& entry) { return entry.second == command; })
      ->first;
}

Outcome<Environment> parse_environment(const Variables& variables) {
  const std::string_view text = get(variables, "CNI_COMMAND");
  const auto command = find_command(text);
  if (!command) {
    return failure(Code::invalid_environment,
                   "CNI_COMMAND '" + std::string(text.substr(0, 64)) + "' is not known",
                   "it must be ADD, DEL, CHECK, GC, STATUS or VERSION (upper case)");
  }
  Environment out;
  out.command = *command;
  if (*command == Command::add || *command == Command::del || *command == Command::check) {
    if (auto failed = parse_attachment(variables, out)) return std::move(*failed);
    auto pod = parse_cni_args(get(variables, "CNI_ARGS"));
    if (!pod) return pod.error();
    out.pod = std::move(*pod);
    out.own_netns_allowed = !get(variables, "CNI_NETNS_OVERRIDE").empty();
  }
  return out;
}

Outcome<PodName> parse_cni_args(std::string_view args) {
  PodName out;
  while (!args.empty()) {
    const std::size_t end = args.find(';');
    const std::string_view pair = args.substr(0, end);
    args = end == std::string_view::npos ? std::string_view() : args.substr(end + 1);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return invalid("CNI_ARGS", "it must be KEY=VALUE pairs separated by ';', found '" +
                                     std::string(pair.substr(0, 64)) + "'");
    }
    const std::string_view key = pair.substr(0, equals);
    const std::string_view value = pair.substr(equals + 1);
    std::string* target = key == "K8S_POD_NAMESPACE" ? &out.name_space
                          : key == "K8S_POD_NAME"    ? &out.name
                          : key == "K8S_POD_UID"     ? &out.uid
                                                     : nullptr;
    if (target == nullptr) continue;
    if (value.size() > max_kubernetes_name)
      return invalid("CNI_ARGS", std::string(key) + " is longer than 253 bytes");
    *target = value;
  }
  return out;
}

}  // namespace heddle::cni
