// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/connection.h"
#include "proxy/pipeline/upstream.h"

namespace heddle::proxy {

struct Worker;

// Opens a connection to the app that `connection` is for, after authorizing it; the app sees the client's
// address where the kernel can show it. Errc::permission_denied when the policy refuses (counted).
std::unique_ptr<Opening> open_app(Worker& worker, const InboundConnection& connection, OpenDone done);

}  // namespace heddle::proxy
