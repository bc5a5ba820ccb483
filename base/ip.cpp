// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

namespace heddle {
namespace {

constexpr std::array<std::uint8_t, 12> v4_mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

template <class Number>
bool parse_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

Error bad(std::string_view what, std::string_view text) {
  return make_error(Errc::invalid_argument,
                    std::string("'").append(text.substr(0, 64)).append("' is not ").append(what));
}

}  // namespace

IpAddress IpAddress::v4(std::uint32_t host_order) {
  in_addr address{};
  address.s_addr = htonl(host_order);
  return from(address);
}

IpAddress IpAddress::from(const in_addr& address) {
  IpAddress out;
  std::copy(v4_mapped_prefix.begin(), v4_mapped_prefix.end(), out.bytes_.begin());
  std::memcpy(out.bytes_.data() + 12, &address.s_addr, 4);
  return out;
}

IpAddress IpAddress::from(const in6_addr& address) {
  IpAddress out;
  std::memcpy(out.bytes_.data(), address.s6_addr, 16);
  return out;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.size() > 63) return bad("an IP address", text);
  const std::string copy(text);
  in_addr four{};
  if (::inet_pton(AF_INET, copy.c_str(), &four) == 1 && copy.size() == std::strlen(copy.c_str()))
    return from(four);
  in6_addr six{};
  if (::inet_pton(AF_INET6, copy.c_str(), &six) == 1 && copy.size() == std::strlen(copy.c_str()))
    return from(six);
  return bad("an IP address", text);
}

bool IpAddress::is_v4() const {
  return std::equal(v4_mapped_prefix.begin(), v4_mapped_prefix.end(), bytes_.begin());
}

std::uint32_t IpAddress::v4_host_order() const {
  std::uint32_t network = 0;
  std::memcpy(&network, bytes_.data() + 12, 4);
  return ntohl(network);
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  return *this == IpAddress(std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
}

bool IpAddress::is_unspecified() const {
  if (is_v4()) return v4_host_order() == 0;
  return *this == IpAddress{};
}

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  if (is_v4()) {
    ::inet_ntop(AF_INET, bytes_.data() + 12, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
  }
  return text;
}

Result<SocketAddress> SocketAddress::from(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &storage, sizeof four);
    return SocketAddress{IpAddress::from(four.sin_addr), ntohs(four.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &storage, sizeof six);
    return SocketAddress{IpAddress::from(six.sin6_addr), ntohs(six.sin6_port)};
  }
  return make_error(Errc::invalid_argument,
                    "address family " + std::to_string(storage.ss_family) + " is not IP");
}

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("an address:port", text);
  auto host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != std::string_view::npos) return bad("an address:port", text);
  SocketAddress out;
  auto ip = IpAddress::parse(host);
  if (!ip || !parse_number(text.substr(colon + 1), out.port)) return bad("an address:port", text);
  out.ip = *ip;
  return out;
}

socklen_t SocketAddress::to_sockaddr(sockaddr_storage& storage, bool as_v6) const {
  std::memset(&storage, 0, sizeof storage);
  if (ip.is_v4() && !as_v6) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    std::memcpy(&four.sin_addr, ip.bytes().data() + 12, 4);
    std::memcpy(&storage, &four, sizeof four);
    return sizeof four;
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  std::memcpy(&six.sin6_addr, ip.bytes().data(), 16);
  std::memcpy(&storage, &six, sizeof six);
  return sizeof six;
}

std::string SocketAddress::to_string() const {
  const auto host = ip.to_string();
  return ip.is_v4() ? host + ":" + std::to_string(port) : "[" + host + "]:" + std::to_string(port);
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  auto ip = IpAddress::parse(text.substr(0, slash));
  if (!ip) return bad("a CIDR", text);
  unsigned bits = ip->is_v4() ? 32 : 128;
  if (slash != std::string_view::npos) {
    unsigned given = 0;
    if (!parse_number(text.substr(slash + 1), given) || given > bits) return bad("a CIDR", text);
    bits = given;
  }
  if (ip->is_v4()) bits += 96;
  auto bytes = ip->bytes();
  for (unsigned bit = bits; bit < 128; ++bit) {
    bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80u >> (bit % 8)));
  }
  return Cidr{IpAddress(bytes), static_cast<std::uint8_t>(bits)};
}

bool Cidr::contains(const IpAddress& ip) const {
  const auto& a = base.bytes();
  const auto& b = ip.bytes();
  const unsigned whole = bits / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
  const unsigned rest = bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xffu << (8 - rest));
  return (a[whole] & mask) == (b[whole] & mask);
}

std::string Cidr::to_string() const {
  const bool four = base.is_v4() && bits >= 96;
  return base.to_string() + "/" + std::to_string(four ? bits - 96 : bits);
}

Result<PortRange> PortRange::parse(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  const auto dash = text.find('-');
  PortRange out;
  if (!parse_number(text.substr(0, dash), out.low)) return bad("a port or a range of ports", text);
  out.high = out.low;
  if (dash != std::string_view::npos && !parse_number(text.substr(dash + 1), out.high)) {
    return bad("a port or a range of ports", text);
  }
  if (out.low == 0 || out.high < out.low) return bad("a port or a range of ports", text);
  return out;
}

Result<std::vector<PortRange>> PortRange::parse_list(std::string_view text) {
  std::vector<PortRange> out;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const auto item = text.substr(0, comma);
    if (item.find_first_not_of(' ') != std::string_view::npos) {
      auto range = parse(item);
      if (!range) return range.error();
      out.push_back(*range);
    }
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return out;
}

std::size_t IpHash::operator()(const IpAddress& ip) const {
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(ip.bytes().data()), ip.bytes().size()});
}

std::size_t IpHash::operator()(const SocketAddress& address) const {
  return (*this)(address.ip) * 1099511628211u + address.port;
}

}  // namespace heddle
