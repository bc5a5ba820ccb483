// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/fallback/redirect.h"
#include "agent/fallback/rules.h"

// Each backend's commands. To be called inside in_netns_child().
namespace heddle::agent {

Result<> install_rules(RedirectBackend backend, const RedirectRules& rules);
Result<> verify_rules(RedirectBackend backend, const RedirectRules& rules);
// Takes away what any backend has installed.
Result<> remove_rules();

}  // namespace heddle::agent
