// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace heddle::agent {

// What of this kernel heddle can use, found by really loading and attaching in throw-away cgroups and
// namespaces:
// {"hooks":[{"hook","usable","reason"}],"iptables_usable":bool,"iptables":"the backend, or why none"}. Needs
// root.
std::string probe_report();

}  // namespace heddle::agent
