// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace heddle::tools {

// What an installation's `heddle-install` ConfigMap remembers.
struct Installed {
  std::string version;
  boost::json::object chosen;
};

// Asks kubectl, with the person's own kubeconfig. Errc::not_found: this cluster has no such ConfigMap.
Result<Installed> read_installed(const std::string& name_space);

// From the JSON of the ConfigMap. PURE.
Result<Installed> installed_from(const std::string& config_map);

// Whether `to` is an older version than `from`: numbers between dots are compared, the rest is not looked at.
bool is_downgrade(const std::string& from, const std::string& to);

// `kubectl diff` of the manifest and the cluster. Returns kubectl's exit status: 0 equal, 1 different.
Result<int> show_difference(const std::string& manifest);

}  // namespace heddle::tools
