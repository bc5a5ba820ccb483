// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/system/result.hpp>

#include <stdexcept>
#include <string>

namespace heddle::cni {

// The numbers of the CNI specification, "Error"; 100 and above are heddle's own (docs/errors.md).
enum class Code : unsigned {
  ok = 0,
  incompatible_version = 1,
  unknown_container = 3,
  invalid_environment = 4,
  io = 5,
  decode = 6,
  invalid_config = 7,
  try_again_later = 11,
  not_available = 50,    // STATUS: ADD would fail now
  agent_protocol = 110,  // the agent's answer could not be read: plugin and agent are too far apart
};

// What the runtime is told: `msg` says what failed, `details` what to do about it.
struct Failure {
  unsigned code = 0;
  std::string msg;
  std::string details;
};

inline Failure failure(Code code, std::string msg, std::string details) {
  return {static_cast<unsigned>(code), std::move(msg), std::move(details)};
}

// A value or what to tell the runtime.
template <class T>
class [[nodiscard]] Outcome : public boost::system::result<T, Failure> {
 public:
  using boost::system::result<T, Failure>::result;
};

// Called by value() on a failure, which only tests do unchecked.
[[noreturn]] inline void throw_exception_from_error(const Failure& f, const boost::source_location&) {
  throw std::runtime_error(f.msg);
}

}  // namespace heddle::cni
