// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/connection.h"

namespace heddle::proxy {

struct Decision {
  bool allowed = false;
  const char* rule = "";    // "default:all-unauthenticated", for metrics' authz_name
  const char* reason = "";  // why not, in words
  bool audited = false;     // allowed for now: the operator wants to see who would be concerned
};

// May this connection reach the app? Pure. Ports that require identity, then the pod's default policy; the
// mesh's own listener ports are never reachable through the mesh.
Decision authorize(const InboundConnection& connection);

// May authorize() say something else of connections of `now` than it did of `before`, another description of
// the same pod? Pure.
bool policy_differs(const Pod& before, const Pod& now);

}  // namespace heddle::proxy
