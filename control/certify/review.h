// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>

// What an API server says of a token (authentication.k8s.io/v1 TokenReview).
namespace heddle::control {

// Whose token it is. Only a ServiceAccount's token that is bound to a pod has these.
struct TokenOwner {
  std::string ns;
  std::string service_account;
  std::string pod_name;
  std::string pod_uid;
  std::string node_name;  // empty: the API server does not put it into tokens

  bool operator==(const TokenOwner&) const = default;
};

enum class ReviewResult : std::uint8_t {
  accepted,
  expired,
  audience,     // made for somebody else
  invalid,      // forged, revoked, or not a token
  not_bound,    // good, but not of a ServiceAccount, or not bound to a pod
  forbidden,    // heddle-control itself may not ask
  unavailable,  // no answer in time, an error of the server's, or too many outstanding
};
inline constexpr std::array<std::string_view, 7> review_result_names = {
    "accepted", "expired", "audience", "invalid", "not_bound", "forbidden", "unavailable"};

struct ReviewFailure {
  ReviewResult result;
  std::string why;  // never contains the token
};
using Review = std::variant<TokenOwner, ReviewFailure>;

// The body of a TokenReview. `token` is checked by is_token().
std::string encode_token_review(std::string_view token, std::string_view audience);
// Only what a token is made of (RFC 7515 compact form), at most 16 KiB: nothing else is sent to the server.
bool is_token(std::string_view text);
// Decodes the answer to it. The audience must be among those that the server confirms: a server that knows no
// audiences confirms none, and accepts tokens made for anybody.
Review decode_token_review(int status, std::string_view body, std::string_view audience);

// Asks, and calls `done` once, on a thread of its own or at once.
using ReviewToken = std::function<void(const std::string& token, std::function<void(Review)> done)>;

// Written on several threads, read for metrics.
struct ReviewCounters {
  // Upper bounds in seconds of the buckets of `took`; the last bucket has none.
  static constexpr std::array<double, 7> bounds = {0.005, 0.01, 0.05, 0.1, 0.5, 1, 5};

  std::array<std::atomic<std::uint64_t>, review_result_names.size()> results{};
  // Refused for what they are, without a review.
  std::array<std::atomic<std::uint64_t>, review_result_names.size()> unasked{};
  std::array<std::atomic<std::uint64_t>, bounds.size() + 1> took{};
  std::atomic<std::uint64_t> took_microseconds{0};
  std::atomic<std::int64_t> outstanding{0};

  void count(ReviewResult result, std::chrono::steady_clock::duration time);
};

}  // namespace heddle::control
