// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>
#include <string_view>

namespace heddle::tools {

// PURE: other names for what belongs to the applications and machines of a cluster, the same for a name
// wherever it stands, so that a bundle can still be read.
class Names {
 public:
  // `name` becomes KIND-1, KIND-2, ..; of a name with dots or slashes, each of its parts. What Kubernetes or
  // heddle names so everywhere ("default", "kube-system", "heddle-agent") stays, and so does what is shorter
  // than 2.
  void add(const std::string& kind, std::string_view name);
  // What is to be renamed of an object of the API server: its name and namespace, node and ServiceAccount,
  // owners, containers and their images, and the values of its labels.
  void add_object(const boost::json::object& object);
  // The pods of an agent's /state, and its node.
  void add_state(const boost::json::object& state);

  // The text with every whole word that is a known name replaced; keys of JSON objects stay.
  std::string apply(std::string_view text) const;

 private:
  std::map<std::string, std::string, std::less<>> aliases_;
  std::map<std::string, int> counts_;
};

}  // namespace heddle::tools
