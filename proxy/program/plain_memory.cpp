// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/memory.h"

namespace heddle::proxy {

// Without jemalloc there is no such thread.
void return_memory_in_background() {}

}  // namespace heddle::proxy
