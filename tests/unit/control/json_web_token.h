// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace heddle::test {

// RFC 4648, 5, without padding.
inline std::string base64url(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  unsigned bits = 0;
  int held = 0;
  for (const unsigned char c : text) {
    bits = (bits << 8 | c) & 0xffff;
    for (held += 8; held >= 6; held -= 6) out += digits[bits >> (held - 6) & 63];
  }
  if (held > 0) out += digits[bits << (6 - held) & 63];
  return out;
}

// A token with these claims and a signature that nobody made.
inline std::string json_web_token(std::string_view claims) {
  return base64url(R"({"alg":"RS256","kid":"x"})") + "." + base64url(claims) + "." + base64url("unsigned");
}

}  // namespace heddle::test
