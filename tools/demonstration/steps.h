// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tools/demonstration/stage.h"

namespace heddle::tools {

// What a step found: figures for programs, a sentence for people.
struct Finding {
  bool ok = false;
  boost::json::object measured;
  std::string text;
};

// Figures taken without heddle, to compare with.
struct Baseline {
  double greeting_p50_ms = 0;
  double slow_share = 0;
  double p99_ms = 0;
};

using Step = std::function<Result<Finding>(Stage&, Baseline&)>;

// Without heddle.
Result<Finding> wire_in_clear(Stage& stage, Baseline& baseline);
Result<Finding> greeting_direct(Stage& stage, Baseline& baseline);
Result<Finding> balance_by_connection(Stage& stage, Baseline& baseline);

// With heddle.
Result<Finding> wire_encrypted(Stage& stage, Baseline& baseline);
Result<Finding> protocols_detected(Stage& stage, Baseline& baseline);
Result<Finding> greeting_meshed(Stage& stage, Baseline& baseline);
Result<Finding> balance_by_request(Stage& stage, Baseline& baseline);
Result<Finding> first_connect(Stage& stage, Baseline& baseline);
Result<Finding> agent_killed(Stage& stage, Baseline& baseline);
Result<Finding> proxy_replaced(Stage& stage, Baseline& baseline);

// Both labs are up; rounds alternate between them.
Result<Finding> interception_cost(Stage& ebpf, Stage& iptables);

}  // namespace heddle::tools
