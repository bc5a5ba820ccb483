// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::source::kubernetes {

// One kind of object of the API.
struct Resource {
  std::string path;  // of the collection, in all namespaces
  std::string kind;  // of its items, which a list does not repeat
  std::string api_version;

  bool operator==(const Resource&) const = default;
};

// PURE: finds where this server keeps services' endpoints, by asking what it serves and never by its version:
// discovery.k8s.io/v1, else v1beta1, else Endpoints of v1. GET what next() names, give the answer, until
// found().
class Discovery {
 public:
  // The path to ask for next. Only while nothing is found.
  std::string next() const;
  // Errc::unavailable and the like: ask the same again later.
  Result<> on_answer(int status, std::string_view body);
  const std::optional<Resource>& found() const { return found_; }

 private:
  void use_next_candidate();

  bool groups_known_ = false;
  std::vector<std::string> candidates_;  // versions of the group that are still to be asked, best first
  std::optional<Resource> found_;
};

}  // namespace heddle::source::kubernetes
