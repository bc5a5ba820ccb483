// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cni/agent_client.h"
#include "cni/dialogue.h"
#include "cni/policy.h"

namespace heddle::cni {

// How long an absent agent is waited for.
enum class Patience { none, upgrade };

// The ways out of the process.
struct Surroundings {
  // How the agent of a configuration is reached for a command.
  std::function<Exchange(Command, const NetworkConfig&, Patience)> make_exchange;
  // What the agent left beside its socket, or why it cannot be had.
  std::function<Result<Policy>(const NetworkConfig&)> read_policy;
};
// The real ones: below config.run_dir.
Surroundings real_surroundings();

// One invocation by a runtime, from what it said to what it is told. Opens the pod's namespace, asks the
// agent, decides without it where that is safe, writes a line to the configuration's logFile. Blocks up to
// twice the configuration's timeout.
Answer run_plugin(const Variables& variables, std::string_view config_text, const Surroundings& surroundings);

}  // namespace heddle::cni
