// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

// Whether an agent that is told to end is replaced by another, or heddle is taken off the node with it. PURE.
namespace heddle::agent {

// The agent's DaemonSet as the API server has it.
struct DaemonSetState {
  bool exists = false;
  std::string uid;  // of one that does not exist: only where it is known which one that was
  bool being_deleted = false;
};

// From the answer to a GET of the DaemonSet `name`. Errc::unavailable for an answer that does not tell, such
// as a refusal; 404 only counts if it speaks of this very object.
Result<DaemonSetState> read_daemonset(int status, std::string_view body, std::string_view name);

struct Departure {
  bool uninstalled = false;  // nobody comes after this agent: pods are released, the plugin goes
  std::string reason;        // for the log
};

// `seen_uid`: of the DaemonSet when this agent last saw it. One that was never seen may be misnamed, so its
// absence says nothing; what cannot be known means that heddle stays. `told` is what a watch said last: it
// counts where `now` cannot be had, as the right to ask may be deleted together with the DaemonSet.
Departure judge_departure(const std::optional<std::string>& seen_uid, const Result<DaemonSetState>& now,
                          const std::optional<DaemonSetState>& told = std::nullopt);

}  // namespace heddle::agent
