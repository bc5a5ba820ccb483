// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

namespace heddle::source::kubernetes {

// PURE: keeps a failure that lasts, or that comes back with every attempt, from filling the log.
class Complaints {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // True if this is to be logged: it was not within the last minute.
  bool is_news(const std::string& text, Time now) {
    std::erase_if(told_, [now](const auto& entry) { return now - entry.second >= repeat_after; });
    if (told_.size() >= most) return false;
    const bool news = told_.emplace(text, now).second;
    unsettled_ |= news;
    return news;
  }
  // True if something was logged since the last time: its end is worth a line too.
  bool settle() { return std::exchange(unsettled_, false); }

 private:
  static constexpr std::chrono::minutes repeat_after{1};
  static constexpr std::size_t most = 64;

  std::map<std::string, Time> told_;
  bool unsettled_ = false;
};

}  // namespace heddle::source::kubernetes
