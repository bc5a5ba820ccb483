// SPDX-License-Identifier: Apache-2.0

// Read by jemalloc(3) at start: freed pages go back to the system after a second, by a background thread, and idle
// threads keep little.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4,tcache_max:4096";
}
