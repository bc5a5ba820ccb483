// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"

namespace heddle {

// Opens a network namespace file (/run/netns/NAME, /proc/PID/ns/net) and checks with NS_GET_NSTYPE
// (ioctl_ns(2)) that it is one, so that no other file of that path is ever entered.
Result<Fd> open_netns(const std::string& path);

// Moves the calling thread into a network namespace until destruction (setns(2)). Needs CAP_SYS_ADMIN.
// Leaving cannot fail in a way a program could survive (it would go on acting in the wrong pod), so a failure
// aborts.
class ScopedNetns {
 public:
  static Result<ScopedNetns> enter(int netns_fd);
  ScopedNetns(ScopedNetns&&) = default;
  ScopedNetns& operator=(ScopedNetns&&) = delete;
  ~ScopedNetns();

 private:
  explicit ScopedNetns(Fd home) : home_(std::move(home)) {}
  Fd home_;
};

// SO_NETNS_COOKIE of a socket (5.14), or of a namespace (enters it for one socket). Never reused while the
// kernel runs, unlike inode numbers.
Result<std::uint64_t> socket_netns_cookie(int socket);
Result<std::uint64_t> netns_cookie(int netns_fd);

// All addresses of all interfaces but lo in the calling thread's namespace (getifaddrs(3)).
Result<std::vector<IpAddress>> local_addresses();

// Sets lo up in the calling thread's namespace if it is down (chained plugins may run before anybody did).
Result<> bring_loopback_up();

}  // namespace heddle
