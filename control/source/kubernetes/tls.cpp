// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/impl/src.hpp>  // compiled here, as heddle_asio does with the rest of Asio

#include "base/io/file.h"
#include "base/ip.h"

namespace heddle::source::kubernetes {

namespace ssl = boost::asio::ssl;

namespace {

constexpr std::size_t file_limit = 1024 * 1024;

Result<std::string> content_of(const Material& material) {
  if (!material.text.empty()) return material.text;
  return read_file(material.path, file_limit);
}

std::string named(const Material& material, const std::string& what) {
  return material.text.empty() ? what + " " + material.path : what + " of the kubeconfig";
}

// Gives `material`, if there is any, to one of the context's functions.
template <class Use>
Result<> use(const Material& material, const std::string& what, const Use& function) {
  if (material.empty()) return {};
  const auto content = content_of(material);
  if (!content) return content.error();
  boost::system::error_code error;
  function(boost::asio::buffer(*content), error);
  if (!error) return {};
  return Error{error, named(material, what) + " cannot be used (it must be PEM)"};
}

}  // namespace

Result<ssl::context> make_tls_context(const Access& access) {
  ERR_clear_error();
  ssl::context context(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  boost::system::error_code error;
  context.set_verify_mode(access.skip_verification ? ssl::verify_none : ssl::verify_peer, error);
  if (!error && access.authority.empty()) context.set_default_verify_paths(error);
  if (error) return Error{error, "TLS cannot be set up"};
  const auto authority = use(access.authority, "certificate-authority", [&](const auto& pem, auto& failed) {
    context.add_certificate_authority(pem, failed);
  });
  if (!authority) return authority.error();
  const auto certificate = use(access.certificate, "client-certificate", [&](const auto& pem, auto& failed) {
    context.use_certificate_chain(pem, failed);
  });
  if (!certificate) return certificate.error();
  const auto key = use(access.key, "client-key", [&](const auto& pem, auto& failed) {
    context.use_private_key(pem, ssl::context::pem, failed);
  });
  if (!key) return key.error();
  return context;
}

Result<> expect_server(SSL* tls, const Access& access) {
  const std::string& name = access.server_name;
  const bool address = IpAddress::parse(name).has_value();
  // Names are sent, addresses must not be (RFC 6066, 3).
  const bool sent = address || SSL_set_tlsext_host_name(tls, name.c_str()) == 1;
  X509_VERIFY_PARAM* expected = SSL_get0_param(tls);
  const bool set = address ? X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str()) == 1
                           : X509_VERIFY_PARAM_set1_host(expected, name.c_str(), name.size()) == 1;
  if (sent && set) return {};
  return make_error(Errc::invalid_argument, "'" + name + "' cannot be the name of a TLS server");
}

std::string why_unverified(const SSL* tls) {
  const long result = SSL_get_verify_result(tls);
  return result == X509_V_OK ? std::string() : X509_verify_cert_error_string(result);
}

Result<std::string> read_token(const Material& token) {
  auto text = content_of(token);
  if (!text) return text;
  const auto blank = [](unsigned char c) { return c <= 0x20; };
  while (!text->empty() && blank(static_cast<unsigned char>(text->back()))) text->pop_back();
  const bool plain = std::ranges::none_of(*text, [](unsigned char c) { return c <= 0x20 || c >= 0x7f; });
  if (!text->empty() && plain) return text;
  return make_error(Errc::invalid_argument,
                    named(token, "token") + (plain ? " is empty" : " contains blanks or control characters"));
}

}  // namespace heddle::source::kubernetes
