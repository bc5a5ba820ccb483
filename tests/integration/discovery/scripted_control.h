// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace heddle::test {

// A Destination service that says what the test tells it to.
class ScriptedControl {
 public:
  enum class Refusal { none, not_found, invalid, unavailable, silent };
  struct Profile {
    std::string name;
    bool opaque = false;
    std::string endpoint_identity;  // set: a pod with this identity at the asked address
    Refusal refusal = Refusal::none;
  };
  struct Tls {
    std::string key_pem, certificate_pem;
  };

  // `port` 0: any.
  explicit ScriptedControl(int port = 0, const Tls* tls = nullptr);
  ~ScriptedControl();
  int port() const;

  // What later (and, for endpoints, present) streams are told.
  void set_profile(const std::string& path, Profile profile);
  // "ip:port" or "ip:port=identity"; replaces what new streams are told at first.
  void set_endpoints(const std::string& path, std::vector<std::string> endpoints);
  void refuse_get(const std::string& path, Refusal refusal);
  // To the streams that are open now.
  void send_add(const std::string& path, std::vector<std::string> endpoints);
  void send_remove(const std::string& path, std::vector<std::string> endpoints);
  void send_no_endpoints(const std::string& path, bool exists);

  int profile_calls(const std::string& path) const;
  int get_calls(const std::string& path) const;
  int open_streams() const;
  std::string last_token() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::test
