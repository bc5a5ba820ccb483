// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>

#include "proxy/tls/names.h"
#include "proxy/tls/tls_stream.h"

namespace heddle::proxy::tls {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate parse_der(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  return {d2i_X509(nullptr, &at, static_cast<long>(der.size())), &X509_free};
}

std::chrono::system_clock::time_point not_after(const X509* certificate) {
  std::tm tm{};
  ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm);
  return std::chrono::system_clock::from_time_t(timegm(&tm));
}

bool configure(SSL_CTX* ssl, const TrustAnchors& anchors) {
  // Sessions are neither cached nor issued: peers pool their connections, and a ticket key would be one more
  // secret.
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ssl, 1);
  // More than one write of a peer of ours: what a full buffer cuts off is read for itself.
  SSL_CTX_set_default_read_buffer_len(ssl, 128 * 1024);
  SSL_CTX_set_alpn_select_cb(ssl, &select_alpn, nullptr);
  SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_verify_depth(ssl, 6);
  SSL_CTX_set1_verify_cert_store(ssl, anchors.get());
  // Verifying is what the anchors are for; OpenSSL need not look for a chain of ours among them.
  SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
  return SSL_CTX_set_num_tickets(ssl, 0) == 1 && SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(
             ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
         SSL_CTX_set1_groups_list(ssl, "X25519:P-256:P-384") == 1;
}

}  // namespace

Result<TrustAnchors> parse_trust_anchors(const std::string& pem, const std::string& origin) {
  TrustAnchors store(X509_STORE_new(), [](X509_STORE* s) { X509_STORE_free(s); });
  const std::unique_ptr<BIO, decltype(&BIO_free)> text(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free);
  int count = 0;
  while (X509* read = PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
    const Certificate certificate(read, &X509_free);
    if (X509_STORE_add_cert(store.get(), read) != 1) {
      return make_error(Errc::invalid_argument,
                        origin + ": certificate " + std::to_string(count + 1) + ": " + openssl_error());
    }
    ++count;
  }
  // The loop ends with "no start line"; anything else is a broken block.
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = openssl_error();
  if (!ended)
    return make_error(Errc::invalid_argument,
                      origin + ": broken PEM after certificate " + std::to_string(count) + ": " + why);
  if (count == 0)
    return make_error(Errc::invalid_argument,
                      origin + ": no certificate in PEM form; give the mesh's trust anchors");
  // An anchor may be an intermediate: whoever configures it trusts it.
  X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN);
  return store;
}

Result<ContextRef> make_context(const std::string& identity, const Key& key, const std::string& leaf_der,
                                const std::vector<std::string>& intermediates_der,
                                const TrustAnchors& anchors) {
  const auto failed = [&](const std::string& why) {
    ERR_clear_error();
    return make_error(Errc::protocol, "certificate for " + identity + ": " + why);
  };
  const Certificate leaf = parse_der(leaf_der);
  if (!leaf) return failed("the leaf is not a certificate in DER form");
  if (!has_name(leaf.get(), identity)) return failed("it names '" + first_name(leaf.get()) + "' instead");
  if (X509_check_private_key(leaf.get(), key.get()) != 1) return failed("it is for another key");
  auto context = std::make_shared<Context>();
  context->identity = identity;
  context->valid_until = not_after(leaf.get());
  context->ssl.reset(SSL_CTX_new(TLS_method()), [](SSL_CTX* ssl) { SSL_CTX_free(ssl); });
  SSL_CTX* ssl = context->ssl.get();
  if (!ssl || !configure(ssl, anchors)) return failed(openssl_error());
  if (SSL_CTX_use_certificate(ssl, leaf.get()) != 1 || SSL_CTX_use_PrivateKey(ssl, key.get()) != 1) {
    return failed(openssl_error());
  }
  for (const auto& der : intermediates_der) {
    const Certificate intermediate = parse_der(der);
    if (!intermediate) return failed("an intermediate is not a certificate in DER form");
    if (SSL_CTX_add1_chain_cert(ssl, intermediate.get()) != 1) return failed(openssl_error());
  }
  return ContextRef(std::move(context));
}

}  // namespace heddle::proxy::tls
