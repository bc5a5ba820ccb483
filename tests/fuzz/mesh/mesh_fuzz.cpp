// SPDX-License-Identifier: Apache-2.0
// Bytes of a mesh peer: as client towards our server side with tunnels, or as server towards our client side
// with a request and a tunnel under way.
#include "proxy/http/h1_format.h"
#include "proxy/http/h2_client.h"
#include "proxy/http/h2_server.h"
#include "proxy/io/pipe.h"
#include "tests/fuzz/http_fuzz.h"

namespace heddle::proxy::http {
namespace {

struct Nobody final : H2ClientOwner {
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override {}
};

// Sends back what tunnels bring.
struct Tunnels final : TunnelHandler {
  struct Echo final : StreamEvents {
    explicit Echo(std::unique_ptr<Stream> taken) : stream(std::move(taken)) { stream->set_events(this); }
    void on_readable() override {
      std::array<std::byte, 4096> buffer;
      while (true) {
        const IoResult result = stream->read(buffer);
        if (result.status == IoStatus::eof) stream->finish_writes();
        if (result.status != IoStatus::ok) return;
        const iovec part{buffer.data(), result.size};
        (void)stream->write(std::span(&part, 1));
      }
    }
    void on_writable() override {}
    std::unique_ptr<Stream> stream;
  };
  std::string check_tunnel(std::string_view authority, std::string_view) override {
    return authority.size() % 2 == 0 ? "" : "odd";
  }
  void open_tunnel(std::string_view, std::unique_ptr<Stream> stream) override {
    echoes.push_back(std::make_unique<Echo>(std::move(stream)));
  }
  std::vector<std::unique_ptr<Echo>> echoes;
};

}  // namespace
}  // namespace heddle::proxy::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  using namespace heddle::proxy::http;
  if (size < 2) return 0;
  FuzzLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  std::string text = data[0] % 2 == 0 ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" : "";
  text.append(std::string_view("\0\0\0\4\0\0\0\0\0", 9));
  text.append(reinterpret_cast<const char*>(data + 2), size - 2);
  const std::size_t step = data[1] == 0 ? text.size() : data[1];
  if (data[0] % 2 == 0) {
    FuzzHandler handler;
    FuzzOwner owner;
    Tunnels tunnels;
    auto server = make_h2_server(loop.engine, std::move(ours), handler, owner, mesh_settings(), &tunnels);
    loop.feed(*theirs, text, step);
    server->abort();
    loop.settle();
  } else {
    Nobody owner;
    FuzzRequester requester;
    H2Client client(loop.engine, std::move(ours), owner, mesh_settings(), true);
    RequestHead head;
    (void)parse_request_head("GET / HTTP/1.1\r\nHost: a\r\n\r\n", head).has_value();
    (void)settle(head).has_value();
    requester.peer = client.start(head, true, requester);
    auto tunnel = client.open_tunnel("10.0.0.1:80", "");
    loop.feed(*theirs, text, step);
    std::array<std::byte, 4096> buffer;
    while (tunnel != nullptr && tunnel->read(buffer).status == IoStatus::ok) {
    }
    client.close();
    loop.settle();
  }
  return 0;
}
