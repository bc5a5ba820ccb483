// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/mesh.h"

#include <sys/random.h>

#include "base/io/file.h"

namespace heddle::tools {
namespace {

constexpr const char* control_ip = "172.30.0.1";

Result<SpawnSpec> program(const LabLayout& layout, const LabOptions& options, const std::string& name,
                          const std::string& node, std::vector<std::string> flags, int netns) {
  auto path = find_program("heddle-" + name, options.bin_dir);
  if (!path) return path.error();
  SpawnSpec spec;
  spec.argv = {*path, "--log-level", options.log_level};
  spec.argv.insert(spec.argv.end(), flags.begin(), flags.end());
  if (const auto extra = options.extra_flags.find(name); extra != options.extra_flags.end()) {
    spec.argv.insert(spec.argv.end(), extra->second.begin(), extra->second.end());
  }
  spec.cgroup = node.empty() ? layout.cgroup + "/" + name : layout.system_cgroup(node, name);
  spec.netns = netns;
  spec.output_file = layout.logs() + "/" + (node.empty() ? "" : node + "_") + name + ".log";
  return spec;
}

}  // namespace

Result<SpawnSpec> control_program(const LabLayout& layout, const LabOptions& options, int netns) {
  return program(layout, options, "control", "",
                 {"--source", "folder:" + layout.objects(), "--state-dir", layout.control_state(),
                  "--node-tokens", layout.tokens(), "--identity-address", "0.0.0.0:8080",
                  "--destination-address", "0.0.0.0:8086", "--admin-address", "0.0.0.0:9990"},
                 netns);
}

Result<SpawnSpec> agent_program(const LabLayout& layout, const LabOptions& options, const LabNode& node,
                                int netns) {
  return program(layout, options, "agent", node.name,
                 {"--node-name",        node.name,
                  "--run-dir",          layout.run_dir(node.name),
                  "--pin-folder",       layout.bpf() + "/" + node.name,
                  "--pods-cgroup",      layout.kubepods(node.name),
                  "--probe-cgroup",     layout.system_cgroup(node.name, "kubelet"),
                  "--interception",     options.interception,
                  "--source",           "folder:" + layout.objects(),
                  "--identity-address", std::string(control_ip) + ":8080",
                  "--trust-anchors",    layout.control_state() + "/trust-anchors.pem",
                  "--token-file",       layout.node(node.name) + "/token",
                  "--default-inject",   options.default_inject},
                 netns);
}

Result<SpawnSpec> proxy_program(const LabLayout& layout, const LabOptions& options, const LabNode& node,
                                int netns) {
  return program(
      layout, options, "proxy", node.name,
      {"--node-name", node.name, "--run-dir", layout.run_dir(node.name), "--destination-address",
       std::string(control_ip) + ":8086", "--trust-anchors", layout.control_state() + "/trust-anchors.pem"},
      netns);
}

Result<> make_node_token(const LabLayout& layout, const std::string& node) {
  unsigned char random[24];
  if (::getrandom(random, sizeof random, 0) != sizeof random)
    return make_errno(errno, "cannot get random bytes");
  std::string secret;
  for (const auto byte : random) {
    secret += "0123456789abcdef"[byte >> 4];
    secret += "0123456789abcdef"[byte & 15];
  }
  if (auto put = write_file_atomically(layout.tokens() + "/" + node + ".token", secret, 0600); !put)
    return put;
  return write_file_atomically(layout.node(node) + "/token", node + ":" + secret, 0600);
}

}  // namespace heddle::tools
