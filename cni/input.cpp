// SPDX-License-Identifier: Apache-2.0
#include "cni/input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace heddle::cni {

Result<std::string> read_to_end(int fd, std::size_t limit, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string out;
  std::array<char, 16384> chunk;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return make_error(Errc::timeout, "the end of the input did not come");
    pollfd poll{fd, POLLIN, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return make_errno(errno, "cannot wait for input");
    if (ready <= 0) continue;
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return make_errno(errno, "cannot read the input");
    if (got == 0) return out;
    if (out.size() + static_cast<std::size_t>(got) > limit) {
      return make_error(Errc::exhausted, "the input is larger than " + std::to_string(limit) + " bytes");
    }
    out.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace heddle::cni
