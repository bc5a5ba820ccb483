// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "base/result.h"

namespace heddle {

// Owns one file descriptor; closes it on destruction. Move-only.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  // Gives up ownership without closing.
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);
  // Another descriptor of the same open file, close-on-exec (fcntl(2) F_DUPFD_CLOEXEC).
  Result<Fd> duplicate() const;

 private:
  int fd_ = -1;
};

// Raises RLIMIT_NOFILE's soft limit to the hard one and returns the new limit (a low soft limit made ztunnel
// fail at 110 pods).
Result<unsigned long> raise_fd_limit();

}  // namespace heddle
