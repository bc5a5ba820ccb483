// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "tests/support/eventually.h"

namespace heddle::cni::test {

using Variables = std::map<std::string, std::string>;

// A running program: killed and reaped on destruction. Its standard output is collected by finish().
class Child {
 public:
  Child(const std::vector<std::string>& command, const Variables& environment, const std::string& input);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  struct Ended {
    int status = -1;  // exit status, or 128 + signal
    std::string output;
    std::chrono::microseconds took{0};
  };
  Ended finish();
  pid_t pid() const { return pid_; }
  void signal(int number) const;

 private:
  pid_t pid_ = -1;
  Fd output_;
  std::chrono::steady_clock::time_point start_;
};

using heddle::test::eventually;

// A folder that goes with it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace heddle::cni::test
