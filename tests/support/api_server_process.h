// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"

namespace heddle::test {

// The API server of tests/support/api_server as a process; it ends with this object, or with the test. Throws
// std::runtime_error when it cannot be begun, or refuses an order.
class ApiServerProcess {
 public:
  // As Kubernetes of this release serves: "1.20" or "1.33".
  explicit ApiServerProcess(const std::string& release = "1.33");
  ~ApiServerProcess();
  ApiServerProcess(const ApiServerProcess&) = delete;
  ApiServerProcess& operator=(const ApiServerProcess&) = delete;

  // Path of a file that makes its bearer the administrator.
  const std::string& kubeconfig() const { return kubeconfig_; }

  // An operation of api_server/admin.py with what it is given, a JSON object; returns the JSON it answers.
  std::string order(const std::string& operation, const std::string& given = "{}") const;
  // Keeps an object (JSON, without kind) of a resource ("pods") as it is, its status too: made or replaced.
  void put(const std::string& resource, const std::string& object) const;
  // Rules of api_server/faults.py, JSON objects separated by commas; they take the place of those before.
  void faults(const std::string& rules) const;

 private:
  std::string kubeconfig_;
  std::string admin_;
  Fd input_;  // it runs while this is open
  pid_t pid_ = -1;
};

}  // namespace heddle::test
