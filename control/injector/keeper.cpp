// SPDX-License-Identifier: Apache-2.0
#include "control/injector/keeper.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "control/source/base64.h"

namespace heddle::control {
namespace {

namespace json = boost::json;
using source::kubernetes::Answer;

constexpr std::chrono::seconds soon{2};  // after a change, or a failure
constexpr std::chrono::milliseconds call_limit{5000};
constexpr const char* own_secret = "heddle-injector-tls";
constexpr const char* configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
constexpr const char* own_configuration = "heddle-injector";
constexpr const char* configuration =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/heddle-injector";
constexpr const char* json_type = "application/json";
constexpr const char* patch_type = "application/json-patch+json";

std::string text_at(const json::value& object, std::string_view pointer) {
  boost::system::error_code none;
  const json::value* found = object.find_pointer(pointer, none);
  if (found == nullptr || !found->is_string()) return {};
  return std::string(found->get_string());
}

std::string bytes_at(const json::value& secret, const std::string& key) {
  return source::from_base64(text_at(secret, "/data/" + key)).value_or("");
}

json::object data_of(const WebhookCertificate& certificate) {
  return {{"tls.crt", source::to_base64(certificate.certificate)},
          {"tls.key", source::to_base64(certificate.key)},
          {"ca.crt", source::to_base64(certificate.authorities)}};
}

Error refused(const Answer& answer, const std::string& doing) {
  std::string next = answer.status == 403 ? "; give heddle-control's ServiceAccount the right to" : "";
  return make_error(answer.status == 403 ? Errc::permission_denied : Errc::unavailable,
                    "the API server answered " + std::to_string(answer.status) + " to " + doing + next);
}

Result<json::value> parsed(const Answer& answer, const std::string& what) {
  boost::system::error_code error;
  auto value = json::parse(answer.body, error);
  if (error) return Error{error, what + " is not JSON"};
  return value;
}

}  // namespace

WebhookKeeper::WebhookKeeper(source::kubernetes::Caller& caller, KeeperOptions options,
                             KeeperCounters& counters, Use use)
    : caller_(caller), options_(std::move(options)), counters_(counters), use_(std::move(use)) {
  thread_ = std::thread([this] { run(); });
}

WebhookKeeper::~WebhookKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  woken_.notify_all();
  thread_.join();
  watches_.clear();
}

std::string WebhookKeeper::secret_name() const {
  return options_.given_secret.empty() ? own_secret : options_.given_secret;
}

void WebhookKeeper::watch() {
  const auto changed = [this] {
    const std::lock_guard lock(mutex_);
    changed_ = true;
    woken_.notify_all();
  };
  const std::string secrets = "/api/v1/namespaces/" + options_.control_namespace + "/secrets";
  watches_.push_back(caller_.watch({secrets, secret_name()}, changed));
  if (options_.given_secret.empty()) {
    watches_.push_back(caller_.watch({configurations, own_configuration}, changed));
  }
}

void WebhookKeeper::run() {
  watch();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_ = false;
    lock.unlock();
    const auto done = round();
    const std::string failure = done ? std::string() : done.error().message();
    if (!done) ++counters_.failures;
    // Told of once: a failure that lasts must not fill the log.
    if (!failure.empty() && failure != told_) {
      spdlog::warn(
          "the injector's certificate is not as it should be, pods are admitted unmarked while API "
          "servers cannot verify it: {}",
          failure);
    }
    told_ = failure;
    const bool settled = done && *done;
    const bool told = std::ranges::all_of(watches_, [](const auto& each) { return each->watching(); });
    lock.lock();
    // What is to be tried again soon is not tried sooner for what it has changed itself.
    const auto wait = !settled ? soon : told ? options_.interval_while_told : options_.interval;
    woken_.wait_for(lock, wait, [&] { return stopping_ || (settled && changed_); });
  }
}

Result<bool> WebhookKeeper::round() {
  auto stored = read_secret();
  if (!stored) return stored.error();
  if (!options_.given_secret.empty()) {
    if (!*stored) return make_error(Errc::not_found, "there is no Secret " + options_.given_secret);
    if (auto shown = show((*stored)->certificate); !shown) return shown.error();
    return true;
  }
  if (!*stored) {
    if (auto made = create_secret(); !made) return made.error();
    return false;
  }
  const WebhookCertificate& certificate = (*stored)->certificate;
  const auto life = check_webhook_certificate(certificate);
  if (!life || certificate.authorities.empty() || life->due(std::chrono::system_clock::now())) {
    if (auto renewed = renew_secret(**stored); !renewed) return renewed.error();
    return false;
  }
  auto known = keep_bundle(certificate.authorities);
  // Shown at once where nothing is: better than to have nothing to show.
  if ((known && *known) || shown_.certificate.empty()) {
    if (auto shown = show(certificate); !shown) return shown.error();
  }
  return known;
}

Result<std::optional<WebhookKeeper::Stored>> WebhookKeeper::read_secret() {
  const std::string name = secret_name();
  const auto answer = ask("GET", "/api/v1/namespaces/" + options_.control_namespace + "/secrets/" + name);
  if (!answer) return answer.error();
  if (answer->status == 404) return std::optional<Stored>();
  if (answer->status != 200) return refused(*answer, "reading Secret " + name);
  const auto secret = parsed(*answer, "Secret " + name);
  if (!secret) return secret.error();
  return std::optional<Stored>(
      Stored{{bytes_at(*secret, "tls.crt"), bytes_at(*secret, "tls.key"), bytes_at(*secret, "ca.crt")},
             text_at(*secret, "/metadata/resourceVersion")});
}

Result<> WebhookKeeper::create_secret() {
  const std::string& ns = options_.control_namespace;
  const auto made =
      make_webhook_certificate("heddle-injector." + ns + ".svc", "", std::chrono::system_clock::now());
  if (!made) return made.error();
  const json::object secret{{"apiVersion", "v1"},
                            {"kind", "Secret"},
                            {"metadata", {{"name", own_secret}, {"namespace", ns}}},
                            {"type", "kubernetes.io/tls"},
                            {"data", data_of(*made)}};
  const auto answer =
      ask("POST", "/api/v1/namespaces/" + ns + "/secrets", json::serialize(secret), json_type);
  if (!answer) return answer.error();
  if (answer->status == 409) return {};  // another replica's: the next round reads it
  if (answer->status != 201) return refused(*answer, "creating Secret heddle-injector-tls");
  ++counters_.certificates_made;
  spdlog::info("made the injector's certificate secret={}/{}", ns, own_secret);
  return {};
}

Result<> WebhookKeeper::renew_secret(const Stored& stored) {
  const std::string& ns = options_.control_namespace;
  const auto made = make_webhook_certificate("heddle-injector." + ns + ".svc", stored.certificate.authorities,
                                             std::chrono::system_clock::now());
  if (!made) return made.error();
  const json::array patch{
      {{"op", "test"}, {"path", "/metadata/resourceVersion"}, {"value", stored.resource_version}},
      {{"op", "add"}, {"path", "/data"}, {"value", data_of(*made)}}};
  const auto answer =
      ask("PATCH", "/api/v1/namespaces/" + ns + "/secrets/" + own_secret, json::serialize(patch), patch_type);
  if (!answer) return answer.error();
  if (answer->status == 409 || answer->status == 422) return {};  // another replica was faster
  if (answer->status != 200) return refused(*answer, "patching Secret heddle-injector-tls");
  ++counters_.certificates_made;
  spdlog::info("renewed the injector's certificate secret={}/{}", ns, own_secret);
  return {};
}

Result<bool> WebhookKeeper::keep_bundle(const std::string& authorities) {
  const auto answer = ask("GET", configuration);
  if (!answer) return answer.error();
  if (answer->status != 200) {
    return refused(*answer, "reading MutatingWebhookConfiguration heddle-injector");
  }
  const auto object = parsed(*answer, "MutatingWebhookConfiguration heddle-injector");
  if (!object) return object.error();
  const std::string wanted = source::to_base64(authorities);
  json::array patch{{{"op", "test"},
                     {"path", "/metadata/resourceVersion"},
                     {"value", text_at(*object, "/metadata/resourceVersion")}}};
  boost::system::error_code none;
  const json::value* webhooks = object->find_pointer("/webhooks", none);
  const std::size_t count = webhooks != nullptr && webhooks->is_array() ? webhooks->get_array().size() : 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string path = "/webhooks/" + std::to_string(i) + "/clientConfig/caBundle";
    if (text_at(*object, path) == wanted) continue;
    patch.push_back({{"op", "add"}, {"path", path}, {"value", wanted}});
  }
  if (patch.size() == 1) return true;
  const auto done = ask("PATCH", configuration, json::serialize(patch), patch_type);
  if (!done) return done.error();
  if (done->status == 409 || done->status == 422) return false;  // somebody changed it meanwhile: look again
  if (done->status != 200) return refused(*done, "patching MutatingWebhookConfiguration heddle-injector");
  ++counters_.bundles_patched;
  spdlog::info("told API servers what to verify the injector with webhooks={}", patch.size() - 1);
  return false;
}

Result<> WebhookKeeper::show(const WebhookCertificate& certificate) {
  if (certificate == shown_) return {};
  const auto life = check_webhook_certificate(certificate);
  if (!life) return life.error();
  if (auto used = use_(certificate); !used) return used;
  shown_ = certificate;
  counters_.certificate_ends = std::chrono::system_clock::to_time_t(life->ends);
  return {};
}

Result<Answer> WebhookKeeper::ask(const std::string& method, const std::string& target, std::string body,
                                  std::string content_type) {
  source::kubernetes::Request request;
  request.method = method;
  request.target = target;
  request.body = std::move(body);
  request.content_type = std::move(content_type);
  return caller_.call(std::move(request), call_limit);
}

}  // namespace heddle::control
