// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "proxy/tls/key.h"

struct ssl_ctx_st;
struct x509_store_st;

namespace heddle::proxy::tls {

// The roots that peers are verified against.
using TrustAnchors = std::shared_ptr<x509_store_st>;
// PEM text with one or more certificates; `origin` names it in errors.
Result<TrustAnchors> parse_trust_anchors(const std::string& pem, const std::string& origin);

// One identity's certificate as OpenSSL wants it, for both roles. Immutable; connections keep the one they
// began with, so a renewal replaces it for new ones only. May be shared by threads.
struct Context {
  std::string identity;
  std::shared_ptr<ssl_ctx_st> ssl;
  std::chrono::system_clock::time_point valid_until;
};
using ContextRef = std::shared_ptr<const Context>;

// Fails when the leaf is not for this key or not for this identity: a certificate mixed up on the way must
// never be shown to a peer.
Result<ContextRef> make_context(const std::string& identity, const Key& key, const std::string& leaf_der,
                                const std::vector<std::string>& intermediates_der,
                                const TrustAnchors& anchors);

}  // namespace heddle::proxy::tls
