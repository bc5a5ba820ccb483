// SPDX-License-Identifier: Apache-2.0
#include "proxy/detect/client_hello.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace heddle::proxy {
namespace {

constexpr std::size_t record_header = 5;
constexpr std::size_t max_record = 16 * 1024;
constexpr std::size_t max_sni = 255;

// A cursor that fails once and for all when it runs past the end.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::size_t number(std::size_t size) {
    std::size_t value = 0;
    for (const std::byte each : take(size)) value = value << 8 | std::to_integer<std::size_t>(each);
    return value;
  }
  std::span<const std::byte> take(std::size_t size) {
    if (size > bytes_.size()) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }
  Reader block(std::size_t length_size) {
    const std::size_t size = number(length_size);
    Reader inner(take(size));
    inner.failed_ = failed_;
    return inner;
  }
  bool empty() const { return bytes_.empty(); }
  bool failed() const { return failed_; }
  std::size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  bool failed_ = false;
};

std::string lower(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte each : bytes.first(std::min(bytes.size(), max_sni))) {
    const char c = static_cast<char>(each);
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

// Nothing when the body is malformed.
std::optional<std::string> find_sni(std::span<const std::byte> body) {
  Reader hello(body);
  hello.take(2 + 32);  // legacy_version, random
  hello.block(1);      // legacy_session_id
  hello.block(2);      // cipher_suites
  hello.block(1);      // legacy_compression_methods
  if (hello.failed()) return std::nullopt;
  if (hello.empty()) return "";  // TLS 1.2 without extensions
  Reader extensions = hello.block(2);
  while (!extensions.empty()) {
    const std::size_t type = extensions.number(2);
    Reader data = extensions.block(2);
    if (extensions.failed()) break;
    if (type != 0) continue;
    Reader names = data.block(2);
    const std::size_t name_type = names.number(1);
    const std::size_t size = names.number(2);
    const auto name = names.take(size);
    if (names.failed() || name_type != 0) return std::nullopt;
    return lower(name);
  }
  if (extensions.failed()) return std::nullopt;
  return "";
}

// Does this header, or as much of it as there is, begin a handshake record?
bool plausible_header(std::span<const std::byte> bytes) {
  const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  if (!bytes.empty() && at(0) != 22) return false;  // handshake
  if (bytes.size() > 1 && at(1) != 3) return false;
  if (bytes.size() > 2 && at(2) > 4) return false;
  if (bytes.size() < record_header) return true;
  const std::size_t length = at(3) << 8 | at(4);
  return length > 0 && length <= max_record;
}

}  // namespace

ClientHello parse_client_hello(std::span<const std::byte> bytes) {
  using State = ClientHello::State;
  std::vector<std::byte> joined;  // of the records' contents, only when there are several
  std::span<const std::byte> content;
  std::span<const std::byte> rest = bytes;
  while (true) {
    if (!plausible_header(rest.first(std::min(rest.size(), record_header)))) return {State::not_tls, {}};
    if (rest.size() <= record_header) return {State::incomplete, {}};
    const std::size_t length =
        std::to_integer<std::size_t>(rest[3]) << 8 | std::to_integer<std::size_t>(rest[4]);
    const auto body = rest.subspan(record_header, std::min(length, rest.size() - record_header));
    if (content.empty()) {
      content = body;
    } else {
      if (joined.empty()) joined.assign(content.begin(), content.end());
      joined.insert(joined.end(), body.begin(), body.end());
      content = joined;
    }
    if (content[0] != std::byte{1}) return {State::not_tls, {}};  // client_hello
    if (content.size() >= 4) {
      const std::size_t size = std::to_integer<std::size_t>(content[1]) << 16 |
                               std::to_integer<std::size_t>(content[2]) << 8 |
                               std::to_integer<std::size_t>(content[3]);
      if (content.size() >= 4 + size) {
        auto sni = find_sni(content.subspan(4, size));
        if (!sni) return {State::not_tls, {}};
        return {State::complete, std::move(*sni)};
      }
    }
    if (body.size() < length) return {State::incomplete, {}};
    rest = rest.subspan(record_header + length);
  }
}

}  // namespace heddle::proxy
