// SPDX-License-Identifier: Apache-2.0
// Bytes of an HTTP/2 client into the server codec, after the preface.
#include "proxy/http/h2_server.h"
#include "proxy/io/pipe.h"
#include "tests/fuzz/http_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  using namespace heddle::proxy::http;
  if (size < 1) return 0;
  FuzzLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  FuzzHandler handler;
  FuzzOwner owner;
  auto server = make_h2_server(loop.engine, std::move(ours), handler, owner, H2Settings{}, nullptr);
  std::string text = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  text.append(std::string_view("\0\0\0\4\0\0\0\0\0", 9));
  text.append(reinterpret_cast<const char*>(data + 1), size - 1);
  loop.feed(*theirs, text, data[0] == 0 ? text.size() : data[0]);
  server->abort();
  loop.settle();
  return 0;
}
