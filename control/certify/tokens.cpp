// SPDX-License-Identifier: Apache-2.0
#include "control/certify/tokens.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "base/io/file.h"

namespace heddle::control {
namespace {

constexpr std::size_t largest_token = 4096;

// A node's name becomes a file's name: RFC 1123 subdomain, no slash, no leading dot.
bool is_node_name(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  return !text.empty() && text.size() <= 253 && text.front() != '.' && std::ranges::all_of(text, allowed);
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Digests have one length, so that comparing them tells nothing about the secret's.
std::array<unsigned char, SHA256_DIGEST_LENGTH> digest(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> out{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
  return out;
}

}  // namespace

Result<std::string> NodeTokens::check(std::string_view token) const {
  Error refused =
      make_error(Errc::permission_denied,
                 "unknown node or wrong token: the agent's --token-file must hold NODE:SECRET, and "
                 "--node-tokens here NODE.token with the same SECRET");
  const auto colon = token.find(':');
  if (folder_.empty() || token.size() > largest_token || colon == std::string_view::npos) return refused;
  std::string node(token.substr(0, colon));
  const std::string_view secret = trimmed(token.substr(colon + 1));
  if (!is_node_name(node)) return refused;
  const auto content = read_file(folder_ + "/" + node + ".token", largest_token);
  const std::string_view expected = content ? trimmed(*content) : std::string_view();
  const auto left = digest(expected);
  const auto right = digest(secret);
  const bool same = CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
  if (!same || expected.empty()) return refused;
  return node;
}

}  // namespace heddle::control
