// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace heddle {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);  // Linux frees the descriptor even when close() reports EINTR.
  fd_ = fd;
}

Result<Fd> Fd::duplicate() const {
  const int copy = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return make_errno(errno, "cannot duplicate a file descriptor");
  return Fd(copy);
}

Result<unsigned long> raise_fd_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return make_errno(errno, "getrlimit(RLIMIT_NOFILE)");
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return make_errno(errno, "setrlimit(RLIMIT_NOFILE)");
  return static_cast<unsigned long>(limit.rlim_cur);
}

}  // namespace heddle
