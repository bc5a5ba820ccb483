// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/connection.h"
#include "proxy/pipeline/upstream.h"
#include "proxy/policy/authorize.h"

namespace heddle::proxy {

struct Worker;

// Opens a connection to the app that `connection` is for, after authorizing it; the app sees the client's
// address where the kernel can show it. Errc::permission_denied when the policy refuses. Counts nothing: an
// app may be dialled for a client that turns out to want something else.
std::unique_ptr<Opening> open_app(Worker& worker, const InboundConnection& connection, OpenDone done);

// Counts what the policy says of a connection of bytes (inbound_tcp_authz_*), and logs it where that is
// audited.
void count_decision(Worker& worker, const InboundConnection& connection);

}  // namespace heddle::proxy
