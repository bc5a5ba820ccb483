// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/injector/certificate.h"
#include "control/injector/counters.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::control {

struct KeeperOptions {
  std::string control_namespace = "heddle";
  std::string given_secret;  // of type kubernetes.io/tls, somebody else's; empty: control makes its own
  // From one look to the next while the API server does not tell of changes, and while it does.
  std::chrono::seconds interval{30};
  std::chrono::seconds interval_while_told{300};
};

// Keeps the webhook's certificate in Secret heddle-injector-tls, renewed in time, and what it is verified
// with in MutatingWebhookConfiguration heddle-injector. Any number of replicas may do so at once: whoever
// makes or renews the Secret first has done it for all. A new certificate is shown once API servers were told
// of its authority in an earlier round; the earlier authority stays beside it. A given Secret is only read,
// and caBundle left to whoever issues it. It looks when the API server tells of a change of either object,
// and every now and then in any case. On a thread of its own; destruction waits for the call that is under
// way.
class WebhookKeeper {
 public:
  // `use` is called on the keeper's thread with every certificate to show.
  using Use = std::function<Result<>(const WebhookCertificate&)>;

  WebhookKeeper(source::kubernetes::Caller& caller, KeeperOptions options, KeeperCounters& counters, Use use);
  ~WebhookKeeper();
  WebhookKeeper(const WebhookKeeper&) = delete;
  WebhookKeeper& operator=(const WebhookKeeper&) = delete;

 private:
  struct Stored {
    WebhookCertificate certificate;
    std::string resource_version;
  };

  void run();
  void watch();
  std::string secret_name() const;
  // Whether everything is as it should be; if not, the next round comes soon.
  Result<bool> round();
  Result<std::optional<Stored>> read_secret();
  Result<> create_secret();
  Result<> renew_secret(const Stored& stored);
  // True: API servers verify with `authorities` already. False: they were told so just now.
  Result<bool> keep_bundle(const std::string& authorities);
  Result<> show(const WebhookCertificate& certificate);
  Result<source::kubernetes::Answer> ask(const std::string& method, const std::string& target,
                                         std::string body = {}, std::string content_type = {});

  source::kubernetes::Caller& caller_;
  const KeeperOptions options_;
  KeeperCounters& counters_;
  const Use use_;
  WebhookCertificate shown_;
  std::string told_;  // of what was last complained; empty: of nothing
  std::mutex mutex_;
  std::condition_variable woken_;
  bool changed_ = false;
  bool stopping_ = false;
  std::thread thread_;
  std::vector<std::unique_ptr<source::kubernetes::Caller::Watch>> watches_;  // the thread's own
};

}  // namespace heddle::control
