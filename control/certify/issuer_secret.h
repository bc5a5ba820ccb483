// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "control/certify/secret_text.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::control {

struct IssuerSecretOptions {
  std::string ns;
  std::string secret = "heddle-identity-issuer";
  std::string trust_anchors = "heddle-trust-anchors";  // ConfigMap
  std::string trust_domain;
  std::string folder;  // where the files go; made with mode 0700
  // From one look to the next while the API server does not tell of changes, and while it does.
  std::chrono::seconds interval{10};
  std::chrono::seconds interval_while_told{300};
};

// Keeps three files as a cluster's Secret and ConfigMap have them, for AuthorityStore to read: issuer.crt,
// issuer.key and trust-anchors.pem. If there is no Secret, a root and an issuer are made and created; of
// several replicas the first one's hold. An issuer whose root heddle made is renewed when 70 % of its life
// has passed. Looks when the API server tells that one of the two has changed, and every now and then in any
// case, on a thread of its own; when the API server is away, or what is there is
// no good, the files stay as they are, which is logged once.
class IssuerSecret {
 public:
  IssuerSecret(source::kubernetes::Caller& caller, IssuerSecretOptions options)
      : caller_(caller), options_(std::move(options)) {}
  ~IssuerSecret();
  IssuerSecret(const IssuerSecret&) = delete;
  IssuerSecret& operator=(const IssuerSecret&) = delete;

  // Once, before start(): the files are there when it succeeds. Blocking, 15 s at most.
  Result<> fetch(Clock::time_point now = Clock::now());
  // Goes on looking until this object's end, for changes since the last fetch() too.
  void start();

  std::string certificate_path() const { return options_.folder + "/issuer.crt"; }
  std::string key_path() const { return options_.folder + "/issuer.key"; }
  std::string trust_anchors_path() const { return options_.folder + "/trust-anchors.pem"; }

 private:
  Result<IssuerSecretContent> read_or_make(Clock::time_point now);
  Result<std::string> anchors_for(const IssuerSecretContent& content);
  Result<> renew(IssuerSecretContent content, Clock::time_point now);
  Result<> write(const AuthorityFiles& files);
  Result<source::kubernetes::Answer> ask(const char* method, const std::string& kind, const std::string& name,
                                         const std::string& body = {});
  void run();
  void tell(const Result<>& outcome);

  source::kubernetes::Caller& caller_;
  const IssuerSecretOptions options_;
  AuthorityFiles written_;
  std::string complaint_;  // what was last told; empty: all is well
  std::mutex mutex_;
  std::condition_variable woken_;
  bool changed_ = false;
  bool ended_ = false;
  std::thread thread_;
  std::unique_ptr<source::kubernetes::Caller::Watch> secret_watch_;
  std::unique_ptr<source::kubernetes::Caller::Watch> anchors_watch_;
};

}  // namespace heddle::control
