// SPDX-License-Identifier: Apache-2.0
// PURE. What can be chosen about an installation: deploy/chart/values.yaml, laid over by platforms, files and
// flags, checked by deploy/chart/values.schema.json.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// The defaults.
Result<boost::json::object> default_values();

// Values of deploy/chart/platforms/NAME.yaml. Errc::not_found names the platforms that there are.
Result<boost::json::object> platform_values(const std::string& name);
std::vector<std::string> platform_names();

// What a cluster older than the current ones needs: "1.20" or "v1.20.2". Nothing from 1.22 on. Before,
// DaemonSets cannot surge, so the proxy is gone before the next one comes, and its connections get less time.
Result<boost::json::object> version_values(const std::string& kubernetes_version);

// Values as a YAML or JSON text has them; an empty text has none.
Result<boost::json::object> read_values(std::string_view text, const std::string& origin);

// Maps are laid over each other key by key; anything else replaces what was there.
void lay_over(boost::json::object& below, const boost::json::object& above);

// "a.b=VALUE"; VALUE is YAML, flow style included: true, 3, [x], {a: 1}.
Result<> set_value(boost::json::object& values, const std::string& assignment);
void set_path(boost::json::object& values, std::string_view path, boost::json::value value);

// An IPv6 address as controlHost gets the brackets that tell it from its port.
void bracket_control_host(boost::json::object& values);

// Whether every value is known, of its type and inside its limits, and they fit together. The error names the
// value and what it may be.
Result<> check_values(const boost::json::object& values);

}  // namespace heddle::tools
