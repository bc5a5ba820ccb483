// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ip.h"

namespace heddle {

// Where nobody is: addresses reserved for documentation (RFC 5737, RFC 3849), port 9. `heddle check` connects
// to them from pods: only a proxy's listener can answer. The proxy ends such connections and learns nothing
// from them.
inline SocketAddress trial_address(bool v4) {
  IpAddress ip = IpAddress::v4(0xC0000201);  // 192.0.2.1
  if (!v4) ip = IpAddress({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  return {ip, 9};
}

}  // namespace heddle
