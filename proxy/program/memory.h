// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace heddle::proxy {

// Starts the allocator's thread that gives freed memory back while nobody allocates. After privileges were
// dropped: a thread keeps what it was born with.
void return_memory_in_background();

}  // namespace heddle::proxy
