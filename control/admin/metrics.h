// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "control/certify/certifier.h"
#include "control/counters.h"
#include "control/injector/counters.h"
#include "control/source/source.h"

namespace heddle::control {

// Everything /metrics shows, gathered by the caller.
struct MetricsInput {
  std::string version;
  std::chrono::system_clock::time_point started;
  std::chrono::system_clock::time_point issuer_not_after;
  source::Status source;
  std::size_t endpoint_questions = 0;
  std::size_t profile_questions = 0;
  const RpcCounters& rpc;
  const Certifier::Counters& certificates;
  const InjectorCounters* injector = nullptr;  // null: there is none
  const TaintCounters* taints = nullptr;
  const ReviewCounters* reviews = nullptr;  // null: no API server reviews tokens
};

// Prometheus text exposition format 0.0.4.
std::string render_metrics(const MetricsInput& input);

}  // namespace heddle::control
