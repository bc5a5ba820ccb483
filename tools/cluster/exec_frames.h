// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// PURE: what the API server's exec says over a WebSocket ("v4.channel.k8s.io"), see
// k8s.io/apiserver/pkg/util/wsstream and the remotecommand package.
namespace heddle::tools {

// The program to run, and where.
struct ExecTarget {
  std::string ns;
  std::string pod;
  std::string container;  // empty: the pod's only one
};

// How the program ended.
struct ExecEnd {
  int exit_code = 0;
  std::string why;  // what the API server says of a failure; empty: nothing
};

inline constexpr std::string_view exec_protocol = "v4.channel.k8s.io";

// Path and query of the request; every part is escaped.
std::string exec_path(const ExecTarget& target, const std::vector<std::string>& argv);

// Takes the frames apart. Standard error is kept up to `error_limit` bytes, its end is dropped.
class ExecFrames {
 public:
  // Bytes for the caller in `out` (standard output; valid as long as `frame`), or nothing.
  // Errc::protocol: a frame that has no meaning.
  Result<> feed(std::string_view frame, std::string_view& out);

  // Set by the frame that tells of the end.
  bool ended() const { return ended_; }
  const ExecEnd& end() const { return end_; }
  const std::string& standard_error() const { return error_; }

  static constexpr std::size_t error_limit = 64 * 1024;

 private:
  Result<> take_end(std::string_view status);

  bool ended_ = false;
  ExecEnd end_;
  std::string error_;
};

}  // namespace heddle::tools
