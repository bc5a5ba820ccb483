// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/transport_header.h"

#include <algorithm>
#include <string_view>

#include "api/linkerd/transport_header.pb.h"

namespace heddle::proxy {
namespace {

namespace wire = ::transport::l5d::io;
constexpr std::string_view magic = "transport.l5d.io/v1\r\n\r\n";
constexpr std::size_t length_size = 4;

}  // namespace

Result<std::optional<DecodedTransportHeader>> decode_transport_header(std::span<const std::byte> bytes) {
  using Decoded = std::optional<DecodedTransportHeader>;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t compared = std::min(text.size(), magic.size());
  if (text.substr(0, compared) != magic.substr(0, compared)) {
    return make_error(Errc::protocol, "a transport header was negotiated but does not come");
  }
  if (text.size() < magic.size() + length_size) return Decoded{};
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_size; ++i) {
    length = length << 8 | std::to_integer<std::size_t>(bytes[magic.size() + i]);
  }
  const std::size_t start = magic.size() + length_size;
  if (length > max_transport_header_bytes - start) {
    return make_error(Errc::protocol,
                      "a transport header of " + std::to_string(length) + " bytes is too long");
  }
  if (text.size() < start + length) return Decoded{};
  wire::TransportHeader message;
  if (!message.ParseFromArray(bytes.data() + start, static_cast<int>(length))) {
    return make_error(Errc::protocol, "a transport header is no protobuf message");
  }
  if (message.port() < 1 || message.port() > 65535) {
    return make_error(Errc::protocol, "a transport header names port " + std::to_string(message.port()));
  }
  DecodedTransportHeader decoded;
  decoded.size = start + length;
  decoded.header.port = static_cast<std::uint16_t>(message.port());
  decoded.header.name = message.name();
  if (message.has_session_protocol()) {
    if (message.session_protocol().has_http_1()) decoded.header.session = TransportHeader::Session::http1;
    if (message.session_protocol().has_http_2()) decoded.header.session = TransportHeader::Session::http2;
  }
  return Decoded(std::move(decoded));
}

std::string encode_transport_header(const TransportHeader& header) {
  wire::TransportHeader message;
  message.set_port(header.port);
  message.set_name(header.name);
  if (header.session == TransportHeader::Session::http1) message.mutable_session_protocol()->mutable_http_1();
  if (header.session == TransportHeader::Session::http2) message.mutable_session_protocol()->mutable_http_2();
  const std::string body = message.SerializeAsString();
  std::string out(magic);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(body.size() >> shift & 0xff);
  return out + body;
}

}  // namespace heddle::proxy
