// SPDX-License-Identifier: Apache-2.0
#include "control/certify/review.h"

#include <algorithm>

#include "control/source/document.h"

namespace heddle::control {
namespace {

using source::Value;

constexpr std::size_t longest_token = 16 * 1024;
constexpr source::Limits limits{256 * 1024, 10'000, 24};
constexpr std::string_view user_prefix = "system:serviceaccount:";

std::string text(const Value* value) {
  return value != nullptr && value->kind == Value::Kind::scalar ? value->scalar : std::string();
}

const Value* field(const Value* map, std::string_view key) {
  return map == nullptr ? nullptr : map->find(key);
}

// The only value of an entry of user.extra; several would be somebody else's idea of it.
std::string extra(const Value* user, std::string_view key) {
  const Value* values = field(field(user, "extra"), "authentication.kubernetes.io/" + std::string(key));
  return values != nullptr && values->items.size() == 1 ? text(&values->items.front()) : std::string();
}

// The server has no field for the reason, only a text that differs between versions; it decides nothing but
// what is counted and said.
ReviewFailure refused(const std::string& error) {
  if (error.find("expired") != std::string::npos) {
    return {ReviewResult::expired, "the token has expired"};
  }
  if (error.find("audience") != std::string::npos) {
    return {ReviewResult::audience, "the token is for another audience: compare --token-audience"};
  }
  return {ReviewResult::invalid, "the API server does not accept the token"};
}

ReviewFailure failed(int status) {
  const std::string what = "the API server answered " + std::to_string(status) + " to a TokenReview";
  if (status == 401 || status == 403) {
    return {ReviewResult::forbidden, what + ": allow heddle-control to create tokenreviews"};
  }
  return {ReviewResult::unavailable, what};
}

bool confirms(const Value* status, std::string_view audience) {
  const Value* audiences = field(status, "audiences");
  return audiences != nullptr &&
         std::ranges::any_of(audiences->items, [&](const Value& value) { return text(&value) == audience; });
}

Review owner_of(const Value* user) {
  const std::string name = text(field(user, "username"));
  ReviewFailure not_bound{ReviewResult::not_bound, "the token is not bound to a pod"};
  if (!name.starts_with(user_prefix)) return not_bound;
  const auto colon = name.find(':', user_prefix.size());
  if (colon == std::string::npos) return not_bound;
  TokenOwner owner{name.substr(user_prefix.size(), colon - user_prefix.size()), name.substr(colon + 1),
                   extra(user, "pod-name"), extra(user, "pod-uid"), extra(user, "node-name")};
  if (owner.ns.empty() || owner.service_account.empty() || owner.pod_name.empty() || owner.pod_uid.empty()) {
    return not_bound;
  }
  return owner;
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= longest_token && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '=';
  });
}

std::string encode_token_review(std::string_view token, std::string_view audience) {
  return R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":")" +
         std::string(token) + R"(","audiences":[")" + std::string(audience) + R"("]}})";
}

Review decode_token_review(int status, std::string_view body, std::string_view audience) {
  if (status != 200 && status != 201) return failed(status);
  const auto documents = source::read_json(body, limits);
  if (!documents || documents->size() != 1) {
    return ReviewFailure{ReviewResult::unavailable, "the API server's answer to a TokenReview is unreadable"};
  }
  const Value& review = documents->front();
  const Value* answer = field(&review, "status");
  if (text(field(&review, "kind")) != "TokenReview" || answer == nullptr) {
    return ReviewFailure{ReviewResult::unavailable,
                         "the API server answered something else to a TokenReview"};
  }
  if (text(field(answer, "authenticated")) != "true") return refused(text(field(answer, "error")));
  if (!confirms(answer, audience)) return refused("audience");
  return owner_of(field(answer, "user"));
}

void ReviewCounters::count(ReviewResult result, std::chrono::steady_clock::duration time) {
  results[static_cast<std::size_t>(result)] += 1;
  const double seconds = std::chrono::duration<double>(time).count();
  const auto bucket = std::ranges::find_if(bounds, [&](double bound) { return seconds <= bound; });
  took[static_cast<std::size_t>(bucket - bounds.begin())] += 1;
  took_microseconds +=
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

}  // namespace heddle::control
