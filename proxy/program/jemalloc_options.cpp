// SPDX-License-Identifier: Apache-2.0
#include <jemalloc/jemalloc.h>

#include "proxy/program/memory.h"

// Read by jemalloc(3) at start: freed pages go back to the system after a second, and idle threads keep
// little. OpenSSL allocates its buffers (128 KiB for records that come, 20 KiB for one that goes) for each
// read and write, so that idle connections hold none: a thread keeps up to four of each size, or every
// request would go to the arena, and its lock, three times.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4,tcache_max:163840,tcache_nslots_large:4";
}

namespace heddle::proxy {

void return_memory_in_background() {
  bool on = true;
  ::mallctl("background_thread", nullptr, nullptr, &on, sizeof on);
}

}  // namespace heddle::proxy
