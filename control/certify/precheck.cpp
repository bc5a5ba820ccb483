// SPDX-License-Identifier: Apache-2.0
#include "control/certify/precheck.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "control/source/base64.h"
#include "control/source/document.h"

namespace heddle::control {
namespace {

using source::Value;

constexpr source::Limits limits{16 * 1024, 1'000, 16};

std::optional<Value> json_map(std::string_view part) {
  const auto decoded = source::from_base64url(part);
  if (!decoded || decoded->empty()) return std::nullopt;
  auto values = source::read_json(*decoded, limits);
  if (!values || values->size() != 1 || values->front().kind != Value::Kind::map) return std::nullopt;
  return std::move(values->front());
}

// The claims of a JWS in compact form (RFC 7515, 7.1) whose header is an object too.
std::optional<Value> claims_of(std::string_view token) {
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const std::string_view signature = token.substr(second + 1);
  if (signature.empty() || !source::from_base64url(signature)) return std::nullopt;
  if (!json_map(token.substr(0, first))) return std::nullopt;
  return json_map(token.substr(first + 1, second - first - 1));
}

// One audience, or several (RFC 7519, 4.1.3).
bool is_for(const Value& claims, std::string_view audience) {
  const Value* named = claims.find("aud");
  if (named == nullptr) return false;
  const auto same = [&](const Value& value) {
    return value.kind == Value::Kind::scalar && value.scalar == audience;
  };
  return same(*named) || std::ranges::any_of(named->items, same);
}

// Seconds since 1970, perhaps with a fraction; what is no number is left to the API server.
bool expired(const Value& claims, std::chrono::system_clock::time_point now) {
  const Value* end = claims.find("exp");
  if (end == nullptr || end->kind != Value::Kind::scalar) return false;
  double seconds = 0;
  const std::string& text = end->scalar;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || rest != text.data() + text.size() || !std::isfinite(seconds)) return false;
  return std::chrono::duration<double>((now - expiry_allowance).time_since_epoch()).count() > seconds;
}

}  // namespace

std::optional<ReviewFailure> precheck_token(std::string_view token, std::string_view audience,
                                            std::chrono::system_clock::time_point now) {
  const auto claims = is_token(token) ? claims_of(token) : std::nullopt;
  if (!claims) return ReviewFailure{ReviewResult::invalid, "no token, or not one of a ServiceAccount"};
  if (!is_for(*claims, audience)) {
    return ReviewFailure{ReviewResult::audience,
                         "the token is for another audience: compare --token-audience"};
  }
  if (expired(*claims, now)) return ReviewFailure{ReviewResult::expired, "the token has expired"};
  return std::nullopt;
}

}  // namespace heddle::control
