// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/connection.h"
#include "proxy/policy/authorize.h"

namespace heddle::proxy {

// A line of the log for a client that the policy `audit` let in: at most ten a second of each worker.
void log_audited(const InboundConnection& connection, const Decision& decision);

}  // namespace heddle::proxy
