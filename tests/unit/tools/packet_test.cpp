// SPDX-License-Identifier: Apache-2.0
#include "tools/capture/packet.h"

#include <gmock/gmock.h>

namespace heddle::tools {
namespace {

using testing::ElementsAre;

std::string be(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
  return out;
}

std::string tcp(std::uint16_t from, std::uint16_t to, std::uint32_t sequence, std::uint8_t flags,
                const std::string& payload) {
  return be(from, 2) + be(to, 2) + be(sequence, 4) + be(0, 4) + be(0x50, 1) + be(flags, 1) + be(0, 6) +
         payload;
}

std::string frame4(const std::string& segment) {
  return std::string(12, '\0') + be(0x0800, 2) + be(0x45, 1) + be(0, 1) + be(20 + segment.size(), 2) +
         be(0, 4) + be(64, 1) + be(6, 1) + be(0, 2) + be(0x0a000001, 4) + be(0x0a000002, 4) + segment;
}

std::string frame6(const std::string& segment) {
  return std::string(12, '\0') + be(0x86dd, 2) + be(0x60000000, 4) + be(segment.size(), 2) + be(6, 1) +
         be(64, 1) + std::string(15, '\0') + be(1, 1) + std::string(15, '\0') + be(2, 1) + segment;
}

std::string block(int length_bytes, const std::string& body) {
  return be(body.size(), length_bytes) + body;
}

std::string hello_record(int kind, const std::string& hello) {
  return be(22, 1) + be(0x0301, 2) + block(2, be(static_cast<std::uint64_t>(kind), 1) + block(3, hello));
}

std::string client_hello() {
  const auto sni = be(0, 2) + block(2, block(2, be(0, 1) + block(2, "web.shop")));
  const auto alpn = be(16, 2) + block(2, block(2, block(1, "heddle/1") + block(1, "h2")));
  return hello_record(1, be(0x0303, 2) + std::string(32, 'r') + block(1, "") + block(2, be(0x1301, 2)) +
                             block(1, be(0, 1)) + block(2, sni + alpn));
}

std::string server_hello() {
  const auto version = be(43, 2) + block(2, be(0x0304, 2));
  return hello_record(
      2, be(0x0303, 2) + std::string(32, 'r') + block(1, "") + be(0x1301, 2) + be(0, 1) + block(2, version));
}

std::string application_record(const std::string& body) {
  return be(23, 1) + be(0x0303, 2) + block(2, body);
}

// One TCP connection as a capture sees it.
class Conversation {
 public:
  explicit Conversation(WireSummary& wire) : wire_(wire) {
    send(true, 2, "");
    send(false, 0x12, "");
  }
  void client(const std::string& bytes) { send(true, 0x10, bytes); }
  void server(const std::string& bytes) { send(false, 0x10, bytes); }
  void repeat_last_from_client(const std::string& bytes) {
    next_[0] -= static_cast<std::uint32_t>(bytes.size());
    client(bytes);
  }

 private:
  void send(bool client, std::uint8_t flags, const std::string& bytes) {
    auto& next = next_[client ? 0 : 1];
    const auto frame = frame4(tcp(client ? 40000 : 80, client ? 80 : 40000, next, flags, bytes));
    auto segment = parse_frame(frame);
    ASSERT_TRUE(segment);
    if (!client) std::swap(segment->source.ip, segment->destination.ip);
    wire_.add(*segment);
    next += static_cast<std::uint32_t>(bytes.size()) + (flags & 2 ? 1 : 0);
  }
  WireSummary& wire_;
  std::uint32_t next_[2] = {0xfffffff0u, 7};  // one wraps around
};

TEST(Frame, IsReadForIpv4AndIpv6) {
  const auto wire4 = frame4(tcp(1000, 80, 5, 0x12, "x"));
  const auto four = parse_frame(wire4);
  ASSERT_TRUE(four);
  EXPECT_EQ(four->source.to_string(), "10.0.0.1:1000");
  EXPECT_EQ(four->destination.to_string(), "10.0.0.2:80");
  EXPECT_TRUE(four->syn);
  EXPECT_EQ(four->payload, "x");
  const auto wire6 = frame6(tcp(1000, 80, 5, 1, "y"));
  const auto six = parse_frame(wire6);
  ASSERT_TRUE(six);
  EXPECT_EQ(six->source.to_string(), "[::1]:1000");
  EXPECT_TRUE(six->fin);
}

TEST(Frame, IsNothingWhenCutAnywhere) {
  for (const auto& frame : {frame4(tcp(1, 2, 3, 0, "payload")), frame6(tcp(1, 2, 3, 0, "payload"))}) {
    for (std::size_t size = 0; size < frame.size(); ++size)
      EXPECT_FALSE(parse_frame(frame.substr(0, size))) << size;
  }
}

TEST(Hello, TellsNameProtocolsAndVersion) {
  const auto client = parse_hello(client_hello());
  ASSERT_TRUE(client);
  EXPECT_EQ(client->sni, "web.shop");
  EXPECT_THAT(client->alpn, ElementsAre("heddle/1", "h2"));
  const auto server = parse_hello(server_hello());
  ASSERT_TRUE(server);
  EXPECT_EQ(server->version, 0x0304);
  for (std::size_t size = 0; size < 40; ++size)
    EXPECT_FALSE(parse_hello(client_hello().substr(0, size))) << size;
}

TEST(Wire, CountsATlsConnectionAsUnreadable) {
  WireSummary wire;
  Conversation talk(wire);
  const auto hello = client_hello();
  talk.client(hello.substr(0, 3));
  talk.client(hello.substr(3));
  talk.server(server_hello() + application_record("abc"));
  talk.client(application_record("0123456789"));
  talk.repeat_last_from_client(application_record("0123456789"));
  ASSERT_EQ(wire.flows().size(), 1u);
  const auto flow = wire.flows()[0];
  EXPECT_TRUE(flow.tls);
  EXPECT_TRUE(flow.tls13);
  EXPECT_EQ(flow.sni, "web.shop");
  EXPECT_EQ(flow.server.port, 80);
  EXPECT_EQ(wire.clear_bytes(), 0u);
}

TEST(Wire, CountsBytesAfterOrInsteadOfTlsAsReadable) {
  WireSummary wire;
  wire.look_for("secret");
  Conversation talk(wire);
  talk.client("GET /sec");
  talk.client("ret HTTP/1.1\r\nX: secret\r\n");
  talk.server("HTTP/1.1 200 OK\r\n");
  EXPECT_EQ(wire.tls_bytes(), 0u);
  EXPECT_GT(wire.clear_bytes(), 0u);
  EXPECT_EQ(wire.count("secret"), 2u);
  EXPECT_EQ(wire.flows()[0].sample.substr(0, 5), "GET /");

  WireSummary late;
  Conversation mixed(late);
  mixed.client(client_hello());
  mixed.client("in clear after all");
  EXPECT_FALSE(late.flows()[0].tls);
}

}  // namespace
}  // namespace heddle::tools
