// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/node.pb.h"
#include "base/result.h"
#include "cni/config.h"
#include "cni/environment.h"
#include "cni/outcome.h"

// What is said to the agent and to the runtime. PURE: nothing here reads, writes or waits.
namespace heddle::cni {

// What the process does in the end: bytes on standard output and its exit status.
struct Answer {
  std::string output;
  int exit_status = 0;
};

// Answers of commands that need no agent.
Answer version_answer(std::string_view config_text);
Answer failure_answer(const Failure& failed, std::string_view cni_version);

// The request for the agent. Code::incompatible_version for a command that the configuration's version does
// not have yet (CHECK before 0.4.0, GC and STATUS before 1.1.0), Code::invalid_config for what the command
// misses.
Outcome<node::CniRequest> make_request(const Environment& environment, const NetworkConfig& config);

// What the runtime is told of a command that was carried out. ADD prints prevResult as it came.
std::string success_output(Command command, const NetworkConfig& config);

// What the runtime is told once the agent has spoken. DEL succeeds whatever it said: what is left the agent
// finds by itself, while an error would keep the pod Terminating.
Outcome<std::string> read_reply(Command command, const NetworkConfig& config, const node::CniReply& reply);

// What the runtime is told when there was no conversation. DEL succeeds: the agent compares its sandboxes
// with the node's at each start and releases what is gone. STATUS succeeds: the pods that are not meshed
// start, while an error would make the whole node NotReady.
Outcome<std::string> without_agent(Command command, const NetworkConfig& config, const Error& error);

// Whether an agent that answered so could not do its part, as if it were away: it is starting, is out of
// something, does not understand us; or (CHECK) did not see the pod start.
bool is_as_good_as_away(Command command, const node::CniReply& reply);

}  // namespace heddle::cni
