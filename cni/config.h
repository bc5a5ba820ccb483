// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cni/environment.h"
#include "cni/outcome.h"
#include "cni/version.h"

// What a runtime says on standard input: the plugin's part of the network configuration (CNI specification,
// "Plugin configuration objects" and "Section 4"). PURE.
namespace heddle::cni {

// Input beyond this is refused before it is parsed. Kubernetes allows 256 KiB of annotations per pod.
constexpr std::size_t max_config_bytes = 1024 * 1024;

constexpr std::string_view default_control_namespace = "heddle";
constexpr std::string_view default_excluded_namespace = "kube-system";

// One (container, interface) pair of GC's cni.dev/valid-attachments.
struct Attachment {
  std::string container_id;
  std::string ifname;
  bool operator==(const Attachment&) const = default;
};

struct NetworkConfig {
  Version version = Version::v0_3_1;
  std::string name;
  // The result of the plugin before this one: the very bytes, and the addresses in it without prefix length.
  std::optional<std::string> prev_result;
  std::vector<std::string> ips;
  // Of the pod's annotations only heddle's and Linkerd's (*.heddle.io/, *.linkerd.io/): nothing else is
  // needed and others may be large or secret.
  std::map<std::string, std::string> pod_annotations;
  bool annotations_passed = false;  // by the runtime, even if there are none of ours among them
  std::optional<std::vector<Attachment>> valid_attachments;
  // heddle-cni's own keys, as the installer writes them.
  std::string run_dir = "/run/heddle";
  std::string log_file;  // empty: none
  std::chrono::milliseconds timeout{10'000};
  // Never meshed. What the agent wrote down goes before these (Policy).
  std::string control_namespace = std::string(default_control_namespace);
  std::vector<std::string> excluded_namespaces{std::string(default_excluded_namespace)};
};

// Code::decode: not JSON; Code::incompatible_version: not one of supported_versions; Code::invalid_config: a
// key of the wrong type or value. Unknown keys are ignored, as the specification wants.
// Of a DEL's configuration only what finds the agent is read: nothing else in it may keep a pod from ending.
Outcome<NetworkConfig> parse_config(std::string_view text, Command command = Command::add);

// "cniVersion" of a VERSION request or of a configuration that is otherwise wrong, for the answer;
// newest_version when there is none.
std::string version_for_answer(std::string_view text);

}  // namespace heddle::cni
