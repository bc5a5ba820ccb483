// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "control/source/document.h"
#include "control/source/kubernetes/discovery.h"
#include "control/source/snapshot.h"

namespace heddle::source::kubernetes {

// PURE: the objects of one kind, as lists and watches tell of them. An object that cannot be decoded keeps
// its last good version. An object whose parts that heddle reads did not change keeps its address. Not
// thread-safe.
class Store {
 public:
  // Adds or replaces an object; `resource` says what it is where the object does not. True if what is known
  // has changed. An error names the object; the caller tells of it.
  Result<bool> put(const Resource& resource, Value object);
  // True if it was there.
  bool remove(const Value& object);

  // A list: everything named by put() between the two stays, the rest goes. True if something went.
  void begin_list() { listed_.clear(); }
  bool end_list();

  std::size_t broken() const { return broken_.size(); }
  void append_to(Objects& objects) const;

 private:
  std::map<std::string, Objects> objects_;  // by "namespace/name"; what one object became
  std::set<std::string> broken_;            // keys
  std::set<std::string> listed_;
};

}  // namespace heddle::source::kubernetes
