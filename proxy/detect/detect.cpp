// SPDX-License-Identifier: Apache-2.0
#include "proxy/detect/detect.h"

#include <algorithm>
#include <string_view>

#include "proxy/detect/client_hello.h"

namespace heddle::proxy {
namespace {

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view http1_version = "HTTP/1.";
constexpr std::size_t max_method = 64;

enum class Match : std::uint8_t { no, partial, yes };

Match match_preface(std::string_view text) {
  const std::size_t size = std::min(text.size(), preface.size());
  if (text.substr(0, size) != preface.substr(0, size)) return Match::no;
  return size == preface.size() ? Match::yes : Match::partial;
}

// RFC 9110 5.6.2
bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_target_character(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

// "METHOD target HTTP/1.x" CRLF; says no at the first byte that cannot be part of it.
Match match_request_line(std::string_view text) {
  // One empty line before it is tolerated (RFC 9112 2.2).
  if (text.starts_with("\r\n")) text.remove_prefix(2);
  if (text == "\r") return Match::partial;
  std::size_t i = 0;
  while (i < text.size() && is_token_character(text[i])) ++i;
  if (i > max_method) return Match::no;
  if (i == text.size()) return Match::partial;
  if (i == 0 || text[i] != ' ') return Match::no;
  const std::size_t target = ++i;
  while (i < text.size() && is_target_character(text[i])) ++i;
  if (i == text.size()) return Match::partial;
  if (i == target || text[i] != ' ') return Match::no;
  const std::string_view version = text.substr(i + 1);
  const std::size_t size = std::min(version.size(), http1_version.size());
  if (version.substr(0, size) != http1_version.substr(0, size)) return Match::no;
  const std::string_view tail = version.substr(size);
  if (!tail.empty() && (tail[0] < '0' || tail[0] > '9')) return Match::no;
  if (tail.size() > 1 && tail[1] != '\r') return Match::no;
  if (tail.size() > 2) return tail[2] == '\n' ? Match::yes : Match::no;
  return Match::partial;
}

constexpr std::string_view blanks = " \t\v\f\r";

bool equal_ignoring_case(std::string_view a, std::string_view lower_case) {
  return std::ranges::equal(a, lower_case,
                            [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x) == y; });
}

// "HTTP/..." is its last word, in any case.
bool names_http(std::string_view line) {
  line = line.substr(0, line.find_last_not_of(blanks) + 1);
  const std::size_t blank = line.find_last_of(blanks);
  if (blank == std::string_view::npos) return false;
  return equal_ignoring_case(line.substr(blank + 1).substr(0, 5), "http/");
}

// What a forgiving server might take for a request line: empty lines and white space before it, any white
// space between its words, a line that ends with CR or LF alone, another version. "METHOD /", "METHOD *" or
// "METHOD http..." begins one.
Match match_forgiven_line(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\v\f\r\n"), text.size()));
  const std::string_view method(
      text.begin(), std::find_if_not(text.begin(), text.end(), [](char c) { return is_token_character(c); }));
  if (method.size() > max_method) return Match::no;
  if (method.size() == text.size()) return Match::partial;
  text.remove_prefix(method.size());
  if (method.empty() || blanks.find(text[0]) == std::string_view::npos) return Match::no;
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  if (text.empty()) return Match::partial;
  if (!equal_ignoring_case(method, "connect") &&
      std::string_view("/*hH").find(text[0]) == std::string_view::npos)
    return Match::no;
  const std::size_t lf = text.find('\n');
  if (const std::size_t cr = text.find('\r');
      cr < std::min(lf, text.size() - 1) && names_http(text.substr(0, cr)))
    return Match::yes;
  if (lf == std::string_view::npos) return Match::partial;
  return names_http(text.substr(0, lf)) ? Match::yes : Match::no;
}

// HTTP/1, as far as this can be told: a strict request line, or one that its parser will refuse.
Match match_http1(std::string_view text, bool full) {
  const Match strict = match_request_line(text);
  if (strict == Match::yes) return strict;
  const Match forgiven = match_forgiven_line(text);
  if (forgiven == Match::yes || (forgiven == Match::partial && full)) return Match::yes;
  return strict == Match::partial ? strict : forgiven;
}

}  // namespace

const char* to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::http1:
      return "http/1";
    case Protocol::http2:
      return "http/2";
    case Protocol::tls:
      return "tls";
    case Protocol::opaque:
      break;
  }
  return "opaque";
}

std::optional<Detected> detect(std::span<const std::byte> bytes, bool ended) {
  const bool full = bytes.size() >= max_detect_bytes;
  bytes = bytes.first(std::min(bytes.size(), max_detect_bytes));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  bool undecided = bytes.empty();
  if (!bytes.empty() && bytes[0] == std::byte{22}) {
    ClientHello hello = parse_client_hello(bytes);
    if (hello.state == ClientHello::State::complete) return Detected{Protocol::tls, std::move(hello.sni)};
    // A ClientHello larger than we look at is TLS all the same.
    if (hello.state == ClientHello::State::incomplete && full) return Detected{Protocol::tls, {}};
    undecided = hello.state == ClientHello::State::incomplete;
  } else if (!bytes.empty()) {
    const Match http2 = match_preface(text);
    if (http2 == Match::yes) return Detected{Protocol::http2, {}};
    // The preface is no HTTP/1 request line, but its beginning may be one ("PRINT /x HTTP/1.1").
    const Match http1 = match_http1(text, full);
    if (http1 == Match::yes && http2 == Match::no) return Detected{Protocol::http1, {}};
    undecided = http2 == Match::partial || http1 == Match::partial;
  }
  if (undecided && !ended && !full) return std::nullopt;
  return Detected{Protocol::opaque, {}};
}

bool is_http2_server(std::span<const std::byte> bytes) {
  constexpr std::size_t frame_head = 9;
  constexpr unsigned settings = 4;
  constexpr unsigned setting_size = 6;
  if (bytes.size() < frame_head) return false;
  const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  return at(0) == 0 && (at(1) << 8 | at(2)) % setting_size == 0 && at(3) == settings &&
         std::ranges::all_of(bytes.subspan(4, 5), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace heddle::proxy
