// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "control/source/document.h"

// PURE: what a kubeconfig says of a program that gives credentials (`exec` of a user), and what that program
// says (client.authentication.k8s.io/v1 and v1beta1).
namespace heddle::source::kubernetes {

struct ExecPlugin {
  std::string command;  // with a '/': a path; else looked for in PATH
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // beside the process's own
  std::string api_version;
  std::string install_hint;    // for the person who lacks it
  bool wants_cluster = false;  // provideClusterInfo
  bool operator==(const ExecPlugin&) const = default;
};

struct ExecCredential {
  std::string token;        // empty: none
  std::string certificate;  // PEM, with its key, or both empty
  std::string key;
  std::optional<std::chrono::system_clock::time_point> expires;
};

// `exec` is the map of the kubeconfig; a relative path is seen from `folder`. Errc::unsupported: another
// version, or a program that must ask a person.
Result<ExecPlugin> exec_plugin_of(const Value& exec, const std::string& folder);

// What the program wrote to its standard output: an ExecCredential of that version, with a token or a
// certificate. The errors do not repeat it, it may hold a secret.
Result<ExecCredential> parse_exec_credential(std::string_view output, const std::string& api_version);

// RFC 3339, as Kubernetes writes times; nothing if it is anything else.
std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text);

}  // namespace heddle::source::kubernetes
