// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "cni/agent_client.h"
#include "cni/dialogue.h"

namespace heddle::cni {

// How the agent of a configuration is reached for a command; ask_agent() in the program.
using MakeExchange = std::function<Exchange(Command, const NetworkConfig&)>;

// The real thing: the socket below config.run_dir. DEL never waits for an absent agent.
Exchange agent_exchange(Command command, const NetworkConfig& config);

// One invocation by a runtime, from what it said to what it is told. Opens the pod's namespace, asks the
// agent, writes a line to the configuration's logFile. Blocks up to the configuration's timeout.
Answer run_plugin(const Variables& variables, std::string_view config_text,
                  const MakeExchange& make_exchange);

}  // namespace heddle::cni
