// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "proxy/balance/balancer.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

// Is the pod that has the endpoint's address here still the one that discovery means? An address is given to
// another pod sooner than discovery hears of it; over TLS the peer's certificate tells, in a join nothing
// else does.
inline bool may_join(const EndpointInfo& endpoint, const Pod& local) {
  return endpoint.identity.empty() || endpoint.identity == local.identity;
}
inline Error wrong_identity(const EndpointInfo& endpoint) {
  return make_error(Errc::permission_denied,
                    "the pod at " + endpoint.address.to_string() + " is not " + endpoint.identity);
}

}  // namespace heddle::proxy
