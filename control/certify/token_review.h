// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

// PURE: TokenReview of authentication.k8s.io/v1, by which an API server says whose a ServiceAccount's token
// is (kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1).
namespace heddle::control {

// Whom a good token belongs to. Names are DNS names: anything else is refused.
struct TokenOwner {
  std::string ns;
  std::string service_account;
  std::string pod_name;   // empty: the token is not bound to a pod
  std::string pod_uid;    // together with the name
  std::string node_name;  // of the pod, where the cluster says so (1.29 and later); else empty

  bool operator==(const TokenOwner&) const = default;
};

// Tokens are longer than this only by mistake.
inline constexpr std::size_t longest_token = 16 * 1024;

// The object to POST.
std::string token_review_of(std::string_view token, std::string_view audience);

// What came back. Errc::permission_denied: the token is not good, or not for `audience`; the text never has
// the token in it. Errc::protocol: not a TokenReview.
Result<TokenOwner> owner_of(std::string_view review, std::string_view audience);

}  // namespace heddle::control
