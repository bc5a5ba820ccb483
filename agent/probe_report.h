// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "agent/fallback/redirect.h"

namespace heddle::agent {

// What of this kernel heddle can use, found by really loading and attaching in throw-away cgroups and
// namespaces:
// {"hooks":[{"hook","usable","reason"}],"iptables_usable":bool,"iptables":"the backend, or why none"}. Needs
// root. `iptables_backend`: the only one to try.
std::string probe_report(std::optional<RedirectBackend> iptables_backend);

}  // namespace heddle::agent
