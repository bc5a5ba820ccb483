// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/source/document.h"

namespace heddle::source::kubernetes {

struct WatchEvent {
  enum class Type { added, modified, deleted, bookmark, error };
  Type type = Type::added;
  Value object;  // a map: the object, or for `error` a Status
};

// PURE: turns the body of a watch, JSON objects one per line, cut anywhere, into events. Types that are not
// known are passed over. After an error the decoder is of no use: start a new watch.
class WatchDecoder {
 public:
  // Objects are limited by etcd to some 1.5 MiB; a line carries one, and may escape it.
  static constexpr std::size_t default_line_limit = 8 * 1024 * 1024;

  explicit WatchDecoder(std::size_t line_limit = default_line_limit) : line_limit_(line_limit) {}

  // Calls `visit` for each event that `bytes` completes, in order. Errc::protocol: not JSON, or not an event;
  // Errc::exhausted: a line beyond the limit. Events before the error have been visited.
  Result<> feed(std::string_view bytes, const std::function<void(WatchEvent)>& visit);

  // Bytes of a line whose end has not come.
  std::size_t pending() const { return line_.size(); }

 private:
  Result<> take_line(std::string_view line, const std::function<void(WatchEvent)>& visit) const;

  std::size_t line_limit_;
  std::string line_;
};

// Parts of objects that lists and watches are steered by; empty or 0 where absent.
std::string resource_version_of(const Value& object);
std::string continue_of(const Value& list);
int code_of(const Value& status);
std::string message_of(const Value& status);

}  // namespace heddle::source::kubernetes
