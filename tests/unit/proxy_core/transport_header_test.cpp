// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/transport_header.h"

#include <gtest/gtest.h>

namespace heddle::proxy {
namespace {

Result<std::optional<DecodedTransportHeader>> decode(std::string_view text) {
  return decode_transport_header(std::as_bytes(std::span(text)));
}

TEST(TransportHeader, ReadsBackWhatItWrote) {
  for (const auto session :
       {TransportHeader::Session::bytes, TransportHeader::Session::http1, TransportHeader::Session::http2}) {
    const TransportHeader header{8080, "web.shop.svc.cluster.local", session};
    const std::string bytes = encode_transport_header(header);
    const auto decoded = decode(bytes + "the app's bytes");
    ASSERT_TRUE(decoded) << decoded.error().message();
    ASSERT_TRUE(*decoded);
    EXPECT_EQ((*decoded)->header, header);
    EXPECT_EQ((*decoded)->size, bytes.size());
  }
}

TEST(TransportHeader, ReadsTheBytesThatLinkerdSends) {
  // Port 80, no name, no protocol.
  const auto decoded = decode(std::string_view("transport.l5d.io/v1\r\n\r\n\0\0\0\x02\x08\x50rest", 33));
  ASSERT_TRUE(decoded && *decoded);
  EXPECT_EQ((*decoded)->header.port, 80);
  EXPECT_EQ((*decoded)->size, 29u);
}

TEST(TransportHeader, WaitsForEveryByte) {
  const std::string bytes =
      encode_transport_header({65535, std::string(3000, 'n'), TransportHeader::Session::http2});
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const auto decoded = decode(std::string_view(bytes).substr(0, n));
    ASSERT_TRUE(decoded) << n;
    EXPECT_FALSE(*decoded) << n;
  }
}

TEST(TransportHeader, HoldsNoMoreThanItsBound) {
  std::string head = "transport.l5d.io/v1\r\n\r\n";
  head += std::string("\x00\x00", 2);
  const std::size_t most = max_transport_header_bytes - 27;
  const auto with_length = [&](std::size_t length) {
    return head + static_cast<char>(length >> 8) + static_cast<char>(length & 0xff);
  };
  const auto awaited = decode(with_length(most));
  ASSERT_TRUE(awaited);
  EXPECT_FALSE(*awaited);
  EXPECT_FALSE(decode(with_length(most + 1)));
}

TEST(TransportHeader, RefusesWhatNoProxySends) {
  EXPECT_FALSE(decode("GET / HTTP/1.1\r\n"));
  EXPECT_FALSE(decode("transport.l5d.io/v2"));
  EXPECT_FALSE(decode(std::string_view("transport.l5d.io/v1\r\n\r\n\xff\xff\xff\xff", 27)));  // length
  EXPECT_FALSE(decode(std::string_view("transport.l5d.io/v1\r\n\r\n\0\0\0\0", 27)));          // port 0
  EXPECT_FALSE(decode(std::string_view("transport.l5d.io/v1\r\n\r\n\0\0\0\x02\xff\xff", 29)));
}

}  // namespace
}  // namespace heddle::proxy
