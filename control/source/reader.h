// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "control/source/document.h"
#include "control/source/objects.h"

namespace heddle::source {

// Reads typed fields out of Values. A missing or null field gives the default. The first field of a wrong
// type is remembered, and everything after it reads as missing: callers decode on and ask result() at the
// end. A null Value pointer reads as an empty map throughout.
class Reader {
 public:
  Result<> result() const;
  // Names the object for errors to come.
  void enter(const Value& object, std::string_view kind);
  void fail(const Value& where, const std::string& why);

  Meta meta(const Value& object, bool namespaced);
  std::string text(const Value* map, std::string_view key);
  bool flag(const Value* map, std::string_view key, bool fallback);
  // 1 to 65535; a missing field is an error, since nothing could be done with the entry.
  std::uint16_t port(const Value* map, std::string_view key);
  std::variant<std::uint16_t, std::string> port_or_name(const Value* map, std::string_view key,
                                                        std::uint16_t fallback);
  Protocol protocol(const Value* map);
  Labels labels(const Value* map, std::string_view key);
  const Value* map(const Value* parent, std::string_view key);
  const Value* list(const Value* parent, std::string_view key);
  // Appends an address unless it is empty or there already.
  void add_ip(const Value* map, std::string_view key, std::vector<IpAddress>& out);
  void add_ip(const Value& scalar, std::vector<IpAddress>& out);

  template <class F>
  void each(const Value* items, F visit) {
    if (items == nullptr) return;
    for (const Value& item : items->items) {
      if (error_) return;
      visit(item);
    }
  }
  template <class F>
  void each_in(const Value* parent, std::string_view key, F visit) {
    each(list(parent, key), visit);
  }

 private:
  const Value* field(const Value* map, std::string_view key);
  void fail_field(const Value& where, std::string_view key, std::string_view expected);

  std::string object_;
  std::optional<Error> error_;
};

}  // namespace heddle::source
