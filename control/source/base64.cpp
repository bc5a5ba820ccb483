// SPDX-License-Identifier: Apache-2.0
#include "control/source/base64.h"

#include <algorithm>

namespace heddle::source {
namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view url_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::optional<std::string> decode(std::string_view text, std::string_view alphabet) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  unsigned value = 0;
  unsigned bits = 0;
  for (const char c : text) {
    const auto digit = alphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = (value << 6U | static_cast<unsigned>(digit)) & 0xffffU;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(value >> bits & 0xffU);
  }
  return out;
}

std::string_view without_padding(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += k <= count ? digits[group >> (18U - 6U * static_cast<unsigned>(k)) & 63U] : '=';
    }
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  const std::string_view bare = without_padding(text);
  if (text.size() % 4 != 0 || text.size() - bare.size() > 2) return std::nullopt;
  return decode(bare, digits);
}

std::optional<std::string> from_written_base64(std::string_view text) {
  std::string bare(text);
  std::erase_if(bare, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
  return decode(without_padding(bare), digits);
}

std::optional<std::string> from_base64url(std::string_view text) {
  return decode(text, url_digits);
}

}  // namespace heddle::source
