// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/names.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>

namespace heddle::proxy::tls {
namespace {

constexpr int max_names = 64;
constexpr std::size_t max_name = 512;

bool plain(std::string_view name) {
  return !name.empty() && name.size() <= max_name &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::vector<std::string> names_of(const x509_st* certificate) {
  std::vector<std::string> names;
  auto* all =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  if (!all) return names;
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> owner(all, &GENERAL_NAMES_free);
  const int count = std::min(sk_GENERAL_NAME_num(all), max_names);
  for (int i = 0; i < count; ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);
    if (type != GEN_DNS && type != GEN_URI) continue;
    const auto* text = static_cast<const ASN1_STRING*>(value);
    const std::string_view name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                static_cast<std::size_t>(ASN1_STRING_length(text)));
    if (plain(name)) names.emplace_back(name);
  }
  return names;
}

std::string first_name(const x509_st* certificate) {
  auto names = names_of(certificate);
  return names.empty() ? std::string() : std::move(names.front());
}

bool has_name(const x509_st* certificate, std::string_view identity) {
  const auto names = names_of(certificate);
  return !identity.empty() && std::find(names.begin(), names.end(), identity) != names.end();
}

std::vector<std::string> names_of_der(std::span<const std::byte> der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      d2i_X509(nullptr, &at, static_cast<long>(der.size())), &X509_free);
  return certificate ? names_of(certificate.get()) : std::vector<std::string>();
}

}  // namespace heddle::proxy::tls
