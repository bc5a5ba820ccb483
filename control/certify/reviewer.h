// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "control/certify/review.h"
#include "control/source/kubernetes/access.h"

namespace heddle::control {

// Has tokens reviewed by the API server. Nothing is kept: each token is asked about each time. Thread-safe;
// destruction answers what is outstanding as unavailable.
class Reviewer {
 public:
  // `audience` is a DNS name. `counters` must outlive it.
  Reviewer(const source::kubernetes::Access& access, std::string audience, ReviewCounters& counters);
  ~Reviewer();
  Reviewer(const Reviewer&) = delete;
  Reviewer& operator=(const Reviewer&) = delete;

  // `done` is called once: on the Reviewer's thread, or at once when nothing is asked (precheck_token() says
  // that it is no use, or too many are outstanding).
  void review(const std::string& token, std::function<void(Review)> done);

  static constexpr std::chrono::milliseconds deadline{5000};
  static constexpr std::int64_t most_outstanding = 1000;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::control
