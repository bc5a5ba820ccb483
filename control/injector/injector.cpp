// SPDX-License-Identifier: Apache-2.0
#include "control/injector/injector.h"

#include <chrono>

namespace heddle::control {

Result<std::unique_ptr<Injector>> Injector::start(
    InjectorOptions options, source::kubernetes::Caller& caller,
    std::function<std::shared_ptr<const source::Snapshot>()> current) {
  std::unique_ptr<Injector> out(new Injector);
  out->rules_ = std::move(options.rules);
  out->current_ = std::move(current);
  auto server = WebhookServer::start(options.address, out->counters_.server,
                                     [raw = out.get()](std::string_view body) { return raw->answer(body); });
  if (!server) return server.error();
  out->server_ = std::move(*server);
  out->keeper_ = std::make_unique<WebhookKeeper>(
      caller, std::move(options.keeper), out->counters_.keeper,
      [raw = out->server_.get()](const WebhookCertificate& certificate) { return raw->use(certificate); });
  return out;
}

Result<std::string> Injector::answer(std::string_view body) {
  const auto began = std::chrono::steady_clock::now();
  const auto request = read_admission_request(body);
  if (!request) return request.error();
  const auto snapshot = current_();
  const auto decision = decide_injection(rules_, *request, snapshot->find_namespace(request->ns));
  auto out = write_admission_review(*request, decision.answer);
  ++counters_.outcomes[static_cast<std::size_t>(decision.outcome)];
  counters_.microseconds += static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began)
          .count());
  return out;
}

}  // namespace heddle::control
