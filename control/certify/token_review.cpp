// SPDX-License-Identifier: Apache-2.0
#include "control/certify/token_review.h"

#include <algorithm>
#include <boost/json.hpp>

#include "control/source/reader.h"

namespace heddle::control {
namespace {

using source::Reader;
using source::Value;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

// user.extra has a list of texts for each key; heddle's have one.
std::string extra(Reader& in, const Value* user, std::string_view key) {
  std::string out;
  in.each_in(in.map(user, "extra"), key, [&](const Value& item) {
    if (out.empty()) out = item.scalar;
  });
  return out;
}

bool has_audience(Reader& in, const Value* status, std::string_view audience) {
  bool found = false;
  in.each_in(status, "audiences", [&](const Value& item) { found = found || item.scalar == audience; });
  return found;
}

Error not_good(const std::string& why) {
  return make_error(Errc::permission_denied, "the API server does not accept the token" + why);
}

// "system:serviceaccount:NAMESPACE:NAME".
bool read_account(const std::string& user, TokenOwner& out) {
  constexpr std::string_view prefix = "system:serviceaccount:";
  if (!user.starts_with(prefix)) return false;
  const auto colon = user.find(':', prefix.size());
  if (colon == std::string::npos) return false;
  out.ns = user.substr(prefix.size(), colon - prefix.size());
  out.service_account = user.substr(colon + 1);
  return is_name(out.ns) && is_name(out.service_account);
}

}  // namespace

std::string token_review_of(std::string_view token, std::string_view audience) {
  namespace json = boost::json;
  return json::serialize(json::object{
      {"apiVersion", "authentication.k8s.io/v1"},
      {"kind", "TokenReview"},
      {"spec", json::object{{"token", token}, {"audiences", json::array{json::value(audience)}}}}});
}

Result<TokenOwner> owner_of(std::string_view review, std::string_view audience) {
  const auto values = source::read_json(review);
  if (!values || values->size() != 1 || values->front().kind != Value::Kind::map) {
    return make_error(Errc::protocol, "the API server's answer is not a TokenReview");
  }
  Reader in;
  const Value* status = in.map(&values->front(), "status");
  const Value* user = in.map(status, "user");
  const bool authenticated = in.flag(status, "authenticated", false);
  TokenOwner owner;
  const bool is_account = read_account(in.text(user, "username"), owner);
  owner.pod_name = extra(in, user, "authentication.kubernetes.io/pod-name");
  owner.pod_uid = extra(in, user, "authentication.kubernetes.io/pod-uid");
  owner.node_name = extra(in, user, "authentication.kubernetes.io/node-name");
  const bool for_us = has_audience(in, status, audience);
  if (auto read = in.result(); !read)
    return make_error(Errc::protocol, "TokenReview: " + read.error().detail);
  if (!authenticated) return not_good(" (expired, forged, for another audience, or of a pod that is gone)");
  // An API server that knows no audiences leaves them out, and accepts what was meant for others.
  if (!for_us) return not_good(" for the audience " + std::string(audience));
  if (!is_account) return not_good(": it is not of a ServiceAccount");
  const bool bound = !owner.pod_name.empty() || !owner.pod_uid.empty();
  if (bound && (!is_name(owner.pod_name) || owner.pod_uid.empty())) {
    return make_error(Errc::protocol, "TokenReview: it names a pod by half");
  }
  return owner;
}

}  // namespace heddle::control
