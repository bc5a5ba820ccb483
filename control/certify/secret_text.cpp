// SPDX-License-Identifier: Apache-2.0
#include "control/certify/secret_text.h"

#include <boost/json.hpp>

#include "control/source/base64.h"
#include "control/source/reader.h"

namespace heddle::control {
namespace {

namespace json = boost::json;
using source::Reader;
using source::Value;

constexpr std::string_view anchors_key = "ca-bundle.crt";
// Of etcd: no object is larger.
constexpr std::size_t largest_object = 3 * 1024 * 1024;

Result<Value> object_of(std::string_view text, std::string_view kind) {
  auto values = source::read_json(text, {largest_object, 100'000, 48});
  if (!values || values->size() != 1 || values->front().kind != Value::Kind::map) {
    return make_error(Errc::protocol, "the API server's answer is not a " + std::string(kind));
  }
  return std::move(values->front());
}

// The value of `data`'s first key that is there.
Result<std::string> data_of(Reader& in, const Value* data, std::initializer_list<const char*> keys) {
  std::string names;
  for (const char* key : keys) {
    const std::string text = in.text(data, key);
    if (!text.empty()) {
      if (auto bytes = source::from_base64(text)) return *bytes;
      return make_error(Errc::invalid_argument, std::string(key) + " is not base64");
    }
    names += (names.empty() ? "" : " or ") + std::string(key);
  }
  return make_error(Errc::invalid_argument, "it has no " + names);
}

json::object metadata(const std::string& ns, const std::string& name) {
  return {{"name", name},
          {"namespace", ns},
          {"labels", json::object{{"app.kubernetes.io/name", "heddle"},
                                  {"app.kubernetes.io/component", "identity"},
                                  {"app.kubernetes.io/managed-by", "heddle-control"}}}};
}

}  // namespace

Result<IssuerSecretContent> read_issuer_secret(std::string_view text) {
  const auto object = object_of(text, "Secret");
  if (!object) return object.error();
  Reader in;
  IssuerSecretContent out;
  out.resource_version = in.text(in.map(&*object, "metadata"), "resourceVersion");
  const Value* data = in.map(&*object, "data");
  auto certificate = data_of(in, data, {"tls.crt", "crt.pem"});
  auto key = data_of(in, data, {"tls.key", "key.pem"});
  const auto root = data_of(in, data, {"ca.crt"});
  const auto root_key = data_of(in, data, {"ca.key"});
  if (auto read = in.result(); !read) return make_error(Errc::invalid_argument, read.error().detail);
  if (!certificate) return certificate.error();
  if (!key) return key.error();
  out.certificate = std::move(*certificate);
  out.key = std::move(*key);
  if (root) out.root = *root;
  if (root_key) out.root_key = *root_key;
  return out;
}

std::string issuer_secret_object(const std::string& ns, const std::string& name,
                                 const IssuerSecretContent& content) {
  json::object object{{"apiVersion", "v1"},
                      {"kind", "Secret"},
                      {"metadata", metadata(ns, name)},
                      {"type", "kubernetes.io/tls"},
                      {"data", json::object{{"tls.crt", source::to_base64(content.certificate)},
                                            {"tls.key", source::to_base64(content.key)},
                                            {"ca.crt", source::to_base64(content.root)},
                                            {"ca.key", source::to_base64(content.root_key)}}}};
  if (!content.resource_version.empty()) {
    object["metadata"].as_object()["resourceVersion"] = content.resource_version;
  }
  return json::serialize(object);
}

Result<std::string> read_trust_anchors(std::string_view text) {
  const auto object = object_of(text, "ConfigMap");
  if (!object) return object.error();
  Reader in;
  auto anchors = in.text(in.map(&*object, "data"), anchors_key);
  if (auto read = in.result(); !read) return make_error(Errc::invalid_argument, read.error().detail);
  if (anchors.empty()) return make_error(Errc::invalid_argument, "it has no " + std::string(anchors_key));
  return anchors;
}

std::string trust_anchors_object(const std::string& ns, const std::string& name, const std::string& anchors) {
  return json::serialize(json::object{{"apiVersion", "v1"},
                                      {"kind", "ConfigMap"},
                                      {"metadata", metadata(ns, name)},
                                      {"data", json::object{{anchors_key, anchors}}}});
}

}  // namespace heddle::control
