// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>
#include <vector>

namespace heddle::tools {

// What one kind of request came to while it was watched.
struct TopRow {
  std::string src, dst;  // NAMESPACE/NAME of the pod that saw it, and where it went or came from
  std::string direction;
  std::string method, path;  // of HTTP; the path without its query
  std::string protocol;
  std::size_t count = 0;
  std::size_t failed = 0;  // status 5xx, or an error
  double best_ms = 0, last_ms = 0, worst_ms = 0;
};

// PURE: adds up records of a tap. Bounded: what comes after `most_rows` kinds is counted, not kept.
class TopRows {
 public:
  // A record of a proxy's /tap; anything else is left out.
  void add(const boost::json::object& record);
  // The most frequent first, `limit` at most (0: all).
  std::vector<TopRow> rows(std::size_t limit) const;
  std::size_t left_out() const { return left_out_; }

  static constexpr std::size_t most_rows = 10'000;

 private:
  std::map<std::string, TopRow> rows_;
  std::size_t left_out_ = 0;
};

}  // namespace heddle::tools
