// SPDX-License-Identifier: Apache-2.0
#include "tools/capture/packet.h"

#include <algorithm>
#include <cstring>

namespace heddle::tools {
namespace {

constexpr std::size_t kept_start = 4096;

std::uint8_t byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}
std::uint16_t be16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}
std::uint32_t be32(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint32_t>(be16(bytes, at)) << 16 | be16(bytes, at + 2);
}

IpAddress ip6_at(std::string_view bytes, std::size_t at) {
  std::array<std::uint8_t, 16> out{};
  std::memcpy(out.data(), bytes.data() + at, 16);
  return IpAddress(out);
}

// Strips the IP header; sets the addresses; nothing unless TCP follows.
std::optional<std::string_view> tcp_of_ip(std::string_view packet, std::uint16_t type, Segment& out) {
  if (type == 0x0800) {
    if (packet.size() < 20 || byte_at(packet, 0) >> 4 != 4 || byte_at(packet, 9) != 6) return {};
    const std::size_t header = (byte_at(packet, 0) & 15u) * 4u;
    std::size_t total = be16(packet, 2);
    if (total == 0) total = packet.size();  // segmentation offload beyond 64 KiB leaves it zero
    if ((be16(packet, 6) & 0x1fff) != 0 || header < 20 || total < header || packet.size() < total) return {};
    out.source.ip = IpAddress::v4(be32(packet, 12));
    out.destination.ip = IpAddress::v4(be32(packet, 16));
    return packet.substr(header, total - header);
  }
  if (type != 0x86dd || packet.size() < 40 || byte_at(packet, 0) >> 4 != 6) return {};
  out.source.ip = ip6_at(packet, 8);
  out.destination.ip = ip6_at(packet, 24);
  std::size_t length = be16(packet, 4);
  if (length == 0) length = packet.size() - 40;
  if (packet.size() < 40 + length) return {};
  auto rest = packet.substr(40, length);
  std::uint8_t next = byte_at(packet, 6);
  for (int i = 0; i < 4 && (next == 0 || next == 43 || next == 60); ++i) {
    if (rest.size() < 8) return {};
    const std::size_t size = (byte_at(rest, 1) + 1u) * 8u;
    if (rest.size() < size) return {};
    next = byte_at(rest, 0);
    rest.remove_prefix(size);
  }
  if (next != 6) return {};
  return rest;
}

// Walks a length-prefixed block; every read is checked.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::uint32_t number(std::size_t bytes) {
    const auto text = take(bytes);
    std::uint32_t out = 0;
    for (const char c : text) out = out << 8 | static_cast<std::uint8_t>(c);
    return out;
  }
  std::string_view take(std::size_t bytes) {
    if (bytes > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto out = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return out;
  }
  Reader block(std::size_t length_bytes) { return Reader(take(number(length_bytes))); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

void read_extensions(Reader extensions, TlsHello& out) {
  while (extensions.ok() && !extensions.empty()) {
    const auto type = extensions.number(2);
    Reader body = extensions.block(2);
    if (type == 0 && out.client) {  // server_name (RFC 6066)
      Reader names = body.block(2);
      if (names.number(1) == 0) {
        const auto length = names.number(2);
        out.sni = std::string(names.take(length));
      }
    } else if (type == 16 && out.client) {  // ALPN (RFC 7301)
      Reader names = body.block(2);
      while (names.ok() && !names.empty()) {
        const auto length = names.number(1);
        out.alpn.emplace_back(names.take(length));
      }
    } else if (type == 43 && out.server) {  // supported_versions (RFC 8446, 4.2.1)
      out.version = static_cast<std::uint16_t>(body.number(2));
    }
  }
}

}  // namespace

std::optional<Segment> parse_frame(std::string_view frame) {
  if (frame.size() < 14) return {};
  std::uint16_t type = be16(frame, 12);
  std::size_t header = 14;
  if (type == 0x8100) {
    if (frame.size() < 18) return {};
    type = be16(frame, 16);
    header = 18;
  }
  Segment out;
  const auto tcp = tcp_of_ip(frame.substr(header), type, out);
  if (!tcp || tcp->size() < 20) return {};
  const std::size_t offset = (byte_at(*tcp, 12) >> 4) * 4u;
  if (offset < 20 || tcp->size() < offset) return {};
  out.source.port = be16(*tcp, 0);
  out.destination.port = be16(*tcp, 2);
  out.sequence = be32(*tcp, 4);
  const auto flags = byte_at(*tcp, 13);
  out.fin = flags & 1;
  out.syn = flags & 2;
  out.rst = flags & 4;
  out.ack = flags & 16;
  out.payload = tcp->substr(offset);
  return out;
}

std::optional<TlsHello> parse_hello(std::string_view stream) {
  Reader record(stream);
  if (record.number(1) != 22 || record.number(1) != 3) return {};
  record.number(1);
  Reader handshake = record.block(2);
  const auto kind = handshake.number(1);
  if (!handshake.ok() || (kind != 1 && kind != 2)) return {};
  Reader hello = handshake.block(3);
  TlsHello out;
  out.client = kind == 1;
  out.server = kind == 2;
  out.version = static_cast<std::uint16_t>(hello.number(2));
  hello.take(32);
  hello.block(1);  // session id
  if (out.client) {
    hello.block(2);  // cipher suites
    hello.block(1);  // compression
  } else {
    hello.take(3);
  }
  if (!hello.ok()) return {};
  if (!hello.empty()) read_extensions(hello.block(2), out);
  return out;
}

void WireSummary::follow_records(Side& side, std::string_view bytes) {
  while (!bytes.empty() && side.tls) {
    if (side.record_left > 0) {
      const auto take = std::min<std::size_t>(side.record_left, bytes.size());
      side.record_left -= static_cast<std::uint32_t>(take);
      bytes.remove_prefix(take);
      continue;
    }
    const auto take = std::min<std::size_t>(5 - side.record.size(), bytes.size());
    side.record += bytes.substr(0, take);
    bytes.remove_prefix(take);
    const auto type = byte_at(side.record, 0);
    if (type < 20 || type > 23 || (side.record.size() > 1 && byte_at(side.record, 1) != 3)) side.tls = false;
    if (side.record.size() < 5) continue;
    side.record_left = be16(side.record, 3);
    if (side.record_left > 16640) side.tls = false;  // 2^14 + 256 (RFC 8446, 5.2)
    side.record.clear();
  }
}

void WireSummary::search(Side& side, std::string_view bytes) {
  std::size_t longest = 1;
  std::string text = side.tail;
  text += bytes;
  for (auto& [wanted, count] : wanted_) {
    longest = std::max(longest, wanted.size());
    // Only matches that end in the new bytes: those inside the tail were counted before.
    const auto from = side.tail.size() >= wanted.size() ? side.tail.size() - wanted.size() + 1 : 0;
    for (auto at = text.find(wanted, from); at != std::string::npos; at = text.find(wanted, at + 1)) ++count;
  }
  side.tail = text.substr(text.size() - std::min(text.size(), longest - 1));
}

void WireSummary::add(const Segment& segment) {
  const auto key = std::minmax(segment.source, segment.destination);
  auto [it, fresh] = connections_.try_emplace({key.first, key.second});
  auto& connection = it->second;
  if (fresh || (segment.syn && !segment.ack)) {
    // A new connection on old ports starts afresh, and the old one still counts. Without a SYN the lower port
    // is taken for the server's.
    if (connection.sides[0].bytes + connection.sides[1].bytes > 0) past_.push_back(flow_of(connection));
    connection = {};
    const bool from_client = segment.syn ? !segment.ack : segment.source.port > segment.destination.port;
    connection.client = from_client ? segment.source : segment.destination;
    connection.server = from_client ? segment.destination : segment.source;
  }
  auto& side = connection.sides[segment.source == connection.client ? 0 : 1];
  auto payload = segment.payload;
  auto sequence = segment.sequence;
  if (segment.syn) {
    side.next = sequence + 1;
    side.synced = true;
    return;
  }
  if (side.synced) {
    // Retransmitted bytes are dropped; a gap is taken as it is (it will look like no TLS, which errs on the
    // loud side).
    const auto old = static_cast<std::int32_t>(side.next - sequence);
    if (old > 0) payload.remove_prefix(std::min<std::size_t>(static_cast<std::size_t>(old), payload.size()));
    if (old > 0) sequence += static_cast<std::uint32_t>(old);
  }
  if (payload.empty()) return;
  side.next = sequence + static_cast<std::uint32_t>(payload.size());
  side.synced = true;
  side.bytes += payload.size();
  if (side.start.size() < kept_start) side.start += payload.substr(0, kept_start - side.start.size());
  follow_records(side, payload);
  search(side, payload);
}

WireSummary::Flow WireSummary::flow_of(const Connection& connection) {
  Flow flow;
  flow.client = connection.client;
  flow.server = connection.server;
  flow.bytes = connection.sides[0].bytes + connection.sides[1].bytes;
  flow.tls = connection.sides[0].tls && connection.sides[1].tls;
  if (const auto hello = parse_hello(connection.sides[0].start); flow.tls && hello && hello->client) {
    flow.sni = hello->sni;
    flow.alpn = hello->alpn;
  }
  if (const auto hello = parse_hello(connection.sides[1].start); flow.tls && hello && hello->server) {
    flow.tls13 = hello->version == 0x0304;
  }
  if (!flow.tls) flow.sample = connection.sides[connection.sides[0].bytes ? 0 : 1].start.substr(0, 80);
  return flow;
}

std::vector<WireSummary::Flow> WireSummary::flows() const {
  auto out = past_;
  for (const auto& [key, connection] : connections_) {
    if (connection.sides[0].bytes + connection.sides[1].bytes > 0) out.push_back(flow_of(connection));
  }
  return out;
}

std::uint64_t WireSummary::tls_bytes() const {
  std::uint64_t out = 0;
  for (const auto& flow : flows()) out += flow.tls ? flow.bytes : 0;
  return out;
}

std::uint64_t WireSummary::clear_bytes() const {
  std::uint64_t out = 0;
  for (const auto& flow : flows()) out += flow.tls ? 0 : flow.bytes;
  return out;
}

std::uint64_t WireSummary::count(const std::string& text) const {
  const auto found = wanted_.find(text);
  return found == wanted_.end() ? 0 : found->second;
}

}  // namespace heddle::tools
