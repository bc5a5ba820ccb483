// SPDX-License-Identifier: Apache-2.0
#include "agent/identity/token_request.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace heddle::agent {
namespace {

namespace json = boost::json;

constexpr std::size_t max_token_bytes = 64 * 1024;
constexpr std::chrono::seconds longest_lifetime{24 * 3600};

Error refused(int status) {
  const std::string text = "the API server answered " + std::to_string(status) + " to a TokenRequest";
  switch (status) {
    case 401:
      return make_error(Errc::permission_denied, text + "; the agent's own credentials are not valid");
    case 403:
      return make_error(Errc::permission_denied,
                        text + "; allow create of serviceaccounts/token (docs/agent.md)");
    case 404:
    case 409:
      return make_error(Errc::not_found, text + "; the pod or its ServiceAccount is gone");
    case 400:
    case 422:
      return make_error(Errc::invalid_argument, text + "; see --token-audience");
    default:
      return make_error(Errc::unavailable, text);
  }
}

const json::object* object_in(const json::object& from, std::string_view key) {
  const auto* value = from.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

}  // namespace

std::string token_target(const TokenSubject& subject) {
  return "/api/v1/namespaces/" + subject.ns + "/serviceaccounts/" + subject.service_account + "/token";
}

std::string encode_token_request(const TokenSubject& subject, std::string_view audience,
                                 std::chrono::seconds lifetime) {
  json::object bound;
  bound["apiVersion"] = "v1";
  bound["kind"] = "Pod";
  bound["name"] = subject.pod;
  bound["uid"] = subject.uid;
  json::object spec;
  spec["audiences"] = json::array{json::string(audience)};
  spec["expirationSeconds"] = lifetime.count();
  spec["boundObjectRef"] = std::move(bound);
  json::object out;
  out["apiVersion"] = "authentication.k8s.io/v1";
  out["kind"] = "TokenRequest";
  out["spec"] = std::move(spec);
  return json::serialize(out);
}

Result<GrantedToken> decode_token_answer(int status, std::string_view body) {
  if (status != 200 && status != 201) return refused(status);
  auto nonsense = make_error(Errc::protocol, "the API server's answer to a TokenRequest is none");
  json::error_code bad;
  const json::value value = json::parse(json::string_view(body.data(), body.size()), bad);
  const auto* root = bad ? nullptr : value.if_object();
  const auto* spec = root != nullptr ? object_in(*root, "spec") : nullptr;
  const auto* granted = root != nullptr ? object_in(*root, "status") : nullptr;
  if (spec == nullptr || granted == nullptr) return nonsense;
  const auto* token = granted->if_contains("token");
  // What the server made of the wish: it may give more or less.
  const auto* seconds = spec->if_contains("expirationSeconds");
  if (token == nullptr || !token->is_string() || seconds == nullptr || !seconds->is_int64()) return nonsense;
  const auto& text = token->get_string();
  if (text.empty() || text.size() > max_token_bytes || seconds->get_int64() <= 0) return nonsense;
  const auto lifetime =
      std::chrono::seconds(std::min(seconds->get_int64(), std::int64_t{longest_lifetime.count()}));
  return GrantedToken{std::string(text.data(), text.size()), lifetime};
}

}  // namespace heddle::agent
