// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/connection.h"
#include "proxy/discovery/directory.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// The app's stream of a join, which has no inbound pipeline: counts what passes on the inbound series of the
// app's pod and writes its line of the access log, as any other inbound connection has them. `destination`
// (through which the client came) remembers the series found.
std::unique_ptr<Stream> count_join(Worker& worker, const PodRef& client, InboundConnection connection,
                                   Destination& destination, std::unique_ptr<Stream> app);

}  // namespace heddle::proxy
