// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "control/source/kubernetes/access.h"
#include "tools/cluster/exec_frames.h"

namespace heddle::tools {

struct ExecOptions {
  // Without a byte for so long it is over; empty: for ever.
  std::optional<std::chrono::milliseconds> silence = std::chrono::seconds(20);
  int stop_fd = -1;  // readable: over, which is not an error; -1: none. Not owned.
};

struct ExecResult {
  ExecEnd end;
  std::string standard_error;
  bool stopped = false;  // by stop_fd or by the sink
};

// Runs a program in a container through the API server, as `kubectl exec` does (subresource pods/exec, verb
// get or create), and gives its standard output to `sink` until that returns false. Blocking; any thread.
// Errors: the API server cannot be reached, refuses (Errc::permission_denied names the right that is
// missing), or talks nonsense; a program that ends with another code than 0 is not one.
Result<ExecResult> exec_in_pod(const source::kubernetes::Access& access, const ExecTarget& target,
                               const std::vector<std::string>& argv, const ExecOptions& options,
                               const std::function<bool(std::string_view)>& sink);

}  // namespace heddle::tools
