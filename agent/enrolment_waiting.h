// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/enrolment.h"

namespace heddle::agent {

// Container ids of sandboxes rebuilt from a proxy's memory, followed by the netns cookie.
inline constexpr std::string_view recovered_prefix = "recovered-";

// An ADD whose pod the source has not shown yet.
struct Enrolment::WaitingForSource {
  CniCall call;
  Fd netns;
  Reply reply;
  std::uint64_t ticket = 0;
  bool expired = false;
  std::optional<PodAnswer> answer;  // the source was asked, and said this
  std::unique_ptr<Loop::Handle> deadline;
};

}  // namespace heddle::agent
