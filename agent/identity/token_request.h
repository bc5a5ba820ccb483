// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

// The TokenRequest of a pod's ServiceAccount, bound to the pod: the API server stops accepting the token when
// the pod is gone. Pure.
namespace heddle::agent {

struct TokenSubject {
  std::string ns;
  std::string pod;
  std::string uid;  // the API server's
  std::string service_account;
};

struct GrantedToken {
  std::string token;              // secret: never in a log or an error
  std::chrono::seconds lifetime;  // from when it was asked for
};

std::string token_target(const TokenSubject& subject);
std::string encode_token_request(const TokenSubject& subject, std::string_view audience,
                                 std::chrono::seconds lifetime);
// The answer's status and body. Errc::unavailable may go away by itself; Errc::permission_denied: RBAC;
// Errc::not_found: the pod or its ServiceAccount is gone.
Result<GrantedToken> decode_token_answer(int status, std::string_view body);

}  // namespace heddle::agent
