// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/source/kubernetes/access.h"
#include "tools/cluster/exec_frames.h"

namespace heddle::tools {

enum class AdminOf { agent, proxy };

// The way to the admin sockets of one node's programs. Blocking; thread-safe.
class AdminLink {
 public:
  virtual ~AdminLink() = default;

  // The body of a GET that was answered 200. Errc::unavailable: nobody is there, or another status (the error
  // has the body).
  virtual Result<std::string> get(AdminOf program, const std::string& target) const = 0;
  // GET whose body is lines without end: `line` is called for each until it returns false, the peer closes,
  // or `stop_fd` (-1: none) becomes readable.
  virtual Result<> stream(AdminOf program, const std::string& target, int stop_fd,
                          const std::function<bool(std::string_view)>& line) const = 0;
  // What `heddle ARGUMENTS` prints on the node, whatever its exit code. Errc::unsupported: this is the node.
  virtual Result<std::string> run(const std::vector<std::string>& arguments) const = 0;
};

// RUN_DIR/agent/admin.sock and RUN_DIR/proxy/admin.sock of this machine.
std::shared_ptr<const AdminLink> link_to_sockets(const std::string& run_dir);

// Those of the node on which the pod of heddle-agent runs: by `heddle admin` in it, run through the API
// server, whose rights (pods/exec) decide who may. Nothing listens on the network for this.
std::shared_ptr<const AdminLink> link_to_pod(std::shared_ptr<const source::kubernetes::Access> access,
                                             ExecTarget pod);

}  // namespace heddle::tools
