// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>

namespace heddle::tools {

// What about this machine decides how heddle works on it: kernel, cgroup mode, BPF, memory, load, pinned
// programs. What cannot be read is left out.
boost::json::object machine_facts();

// The folder's network configurations, `name` -> parsed (or the text of what is no JSON), without
// credentials. Errors: none; a folder that cannot be read is {"error": ..}.
boost::json::object cni_configurations(const std::string& folder);

}  // namespace heddle::tools
