// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "control/injector/counters.h"
#include "control/injector/decide.h"
#include "control/injector/keeper.h"
#include "control/injector/server.h"
#include "control/source/snapshot.h"

namespace heddle::control {

struct InjectorOptions {
  std::string address;
  InjectorRules rules;
  KeeperOptions keeper;
};

// The webhook that API servers ask about pods before they store them. Destruction ends it.
class Injector {
 public:
  // `current` is called on the webhook's thread, `caller` must outlive the injector.
  static Result<std::unique_ptr<Injector>> start(
      InjectorOptions options, source::kubernetes::Caller& caller,
      std::function<std::shared_ptr<const source::Snapshot>()> current);

  std::uint16_t port() const { return server_->port(); }
  const InjectorCounters& counters() const { return counters_; }

 private:
  Injector() = default;
  Result<std::string> answer(std::string_view body);

  InjectorRules rules_;
  std::function<std::shared_ptr<const source::Snapshot>()> current_;
  InjectorCounters counters_;
  std::unique_ptr<WebhookServer> server_;
  std::unique_ptr<WebhookKeeper> keeper_;
};

}  // namespace heddle::control
