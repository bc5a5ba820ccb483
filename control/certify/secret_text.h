// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "control/certify/authority.h"

// Secrets and ConfigMaps that hold an authority, in the API's JSON. No I/O.
namespace heddle::control {

struct IssuerSecretContent {
  std::string certificate;       // PEM: the issuer, then its intermediates
  std::string key;               // PEM
  std::string root;              // PEM; empty where the Secret has none
  std::string root_key;          // PEM; only of a root that heddle made: with it the issuer is renewed
  std::string resource_version;  // for a replacement that must not undo another's
};

// Of a Secret of type kubernetes.io/tls (tls.crt, tls.key, ca.crt; as cert-manager writes it) or
// linkerd.io/tls (crt.pem, key.pem). Errc::invalid_argument names the key that is missing or no base64; never
// a value.
Result<IssuerSecretContent> read_issuer_secret(std::string_view json);

// A Secret of type kubernetes.io/tls, to be created, or to replace the one of `content.resource_version`.
std::string issuer_secret_object(const std::string& ns, const std::string& name,
                                 const IssuerSecretContent& content);

// `ca-bundle.crt` of a ConfigMap. Errc::invalid_argument: it is not there.
Result<std::string> read_trust_anchors(std::string_view json);
std::string trust_anchors_object(const std::string& ns, const std::string& name, const std::string& anchors);

}  // namespace heddle::control
