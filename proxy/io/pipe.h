// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "proxy/io/stream.h"

namespace heddle::proxy {

class Loop;

// The two ends of a connection inside this worker: what is written into one is read from the other. Each
// direction holds at most `capacity` unread bytes, then write() would block; a direction without unread bytes
// holds no memory. Used to join two pipelines and to test whatever works on streams.
std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> make_pipe(Loop& loop,
                                                                      std::size_t capacity = 64 * 1024);

}  // namespace heddle::proxy
