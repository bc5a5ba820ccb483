// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/ip.h"

namespace heddle::proxy::smuggling {

// Connects, sends all of it, and reads until the other side ends the connection (at most 20 s without a
// byte).
std::string converse(const SocketAddress& to, std::string_view bytes);

// What came of the requests on streams 1 (the case's) and 3 ("/last").
struct H2Heard {
  int status = 0;  // of stream 1
  bool reset = false;
  bool goaway = false;
  std::string last;  // content of stream 3's answer
};
// `text`: a line of requests_h2.txt. Frames are made by hand, as nghttp2 refuses most of these.
H2Heard converse_http2(const SocketAddress& to, std::string_view text);

}  // namespace heddle::proxy::smuggling
