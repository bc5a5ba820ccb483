// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle {

// An IPv4 or IPv6 address. IPv4 is stored v4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so an address and its
// v4-mapped form compare equal, as they name the same host. Network byte order.
class IpAddress {
 public:
  IpAddress() = default;  // "::"
  explicit IpAddress(std::array<std::uint8_t, 16> bytes) : bytes_(bytes) {}
  static IpAddress v4(std::uint32_t host_order);
  static IpAddress from(const in_addr& address);
  static IpAddress from(const in6_addr& address);
  // Dotted quad or RFC 4291 text; no brackets, no zone.
  static Result<IpAddress> parse(std::string_view text);

  bool is_v4() const;
  bool is_loopback() const;
  bool is_unspecified() const;
  bool is_link_local() const;  // 169.254/16, fe80::/10
  // Valid only for is_v4(): host byte order.
  std::uint32_t v4_host_order() const;
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
  std::string to_string() const;

  auto operator<=>(const IpAddress&) const = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// An address and a TCP port (host byte order).
struct SocketAddress {
  IpAddress ip;
  std::uint16_t port = 0;

  // From what accept(2), getsockname(2), SO_ORIGINAL_DST return (AF_INET or AF_INET6).
  static Result<SocketAddress> from(const sockaddr_storage& storage);
  // "1.2.3.4:80" or "[::1]:80".
  static Result<SocketAddress> parse(std::string_view text);
  // AF_INET for an IPv4 address unless `as_v6` (a socket of AF_INET6 needs the v4-mapped form). Returns the
  // length.
  socklen_t to_sockaddr(sockaddr_storage& storage, bool as_v6 = false) const;
  std::string to_string() const;

  auto operator<=>(const SocketAddress&) const = default;
};

// A prefix, "10.0.0.0/8" or "fd00::/8". Host bits are cleared. `bits` counts in the 128-bit form (a /8 of
// IPv4 is 104).
struct Cidr {
  IpAddress base;
  std::uint8_t bits = 128;

  static Result<Cidr> parse(std::string_view text);  // a bare address is a host prefix
  bool contains(const IpAddress& ip) const;
  std::string to_string() const;

  auto operator<=>(const Cidr&) const = default;
};

// Inclusive, low <= high.
struct PortRange {
  std::uint16_t low = 0;
  std::uint16_t high = 0;

  bool contains(std::uint16_t port) const { return port >= low && port <= high; }
  // "80", "8000-9000"; lists are comma separated, as Linkerd's annotations take them.
  static Result<PortRange> parse(std::string_view text);
  static Result<std::vector<PortRange>> parse_list(std::string_view text);

  auto operator<=>(const PortRange&) const = default;
};

struct IpHash {
  std::size_t operator()(const IpAddress& ip) const;
  std::size_t operator()(const SocketAddress& address) const;
};

}  // namespace heddle

template <>
struct std::hash<heddle::IpAddress> {
  std::size_t operator()(const heddle::IpAddress& ip) const { return heddle::IpHash{}(ip); }
};
template <>
struct std::hash<heddle::SocketAddress> {
  std::size_t operator()(const heddle::SocketAddress& address) const { return heddle::IpHash{}(address); }
};
