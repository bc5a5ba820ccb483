// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "tests/support/eventually.h"

// Network namespaces, cgroups and sockets for tests that need the real kernel. Everything is anonymous or
// named after the test process and ends with its owner. Set-up failures throw std::runtime_error: the test
// cannot go on, but what it made is to be removed.
namespace heddle::test {

inline constexpr std::chrono::milliseconds patience{5000};

// A network namespace without a name, with lo up; it ends with the last descriptor.
Fd make_netns();

// Runs `work` in a thread of its own inside the namespace.
void in_netns(int netns_fd, const std::function<void()>& work);

struct CommandResult {
  int status = -1;     // exit status, or -1 when it was killed
  std::string output;  // stdout and stderr
};
// `sh -c command` inside the namespace, waited for.
CommandResult run_in(int netns_fd, const std::string& command);
// Throws unless the command succeeds.
void must_run_in(int netns_fd, const std::string& command);

// One end of a cable; addresses as "10.0.0.2/24", "fd00::2/64".
struct CableEnd {
  int netns_fd;
  std::string device;
  std::vector<std::string> addresses;
};
// A veth pair, both ends up. IPv6 addresses are usable at once (no duplicate address detection).
void join_with_veth(const CableEnd& a, const CableEnd& b);

// A cgroup v2 "heddle-test-PID-N", removed at the end with its children (processes in it are the owner's to
// end).
class TestCgroup {
 public:
  TestCgroup();
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup();
  const std::string& path() const { return path_; }
  // Makes and returns a child's path.
  std::string child(const std::string& name);

 private:
  std::string path_;
  std::vector<std::string> children_;  // in order of creation
};

// Makes sockets as if by a process in that cgroup and namespace. The kernel asks a socket, not its user, for
// both, so the test may go on to use the socket itself.
class SocketMaker {
 public:
  SocketMaker(const std::string& cgroup, int netns_fd);
  SocketMaker(const SocketMaker&) = delete;
  SocketMaker& operator=(const SocketMaker&) = delete;
  ~SocketMaker();
  Fd make(int family, int type = SOCK_STREAM, int protocol = 0) const;

 private:
  Fd conversation_;
  pid_t child_ = -1;
};

// A bpffs of its own in a temporary folder, unmounted at the end.
class TestBpffs {
 public:
  TestBpffs();
  TestBpffs(const TestBpffs&) = delete;
  TestBpffs& operator=(const TestBpffs&) = delete;
  ~TestBpffs();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Sockets. Negative errno values are returned where a number is.
int bind_to(const Fd& socket, const std::string& address);  // "10.0.0.2:80", "[::]:80"
void listen_on(const Fd& socket, const std::string& address, int backlog = 128);
// Blocking connect with a limit: 0 or -errno (-ETIMEDOUT after `limit`). The socket is blocking afterwards.
// An IPv4 address on an IPv6 socket is v4-mapped.
int connect_to(const Fd& socket, const std::string& address, std::chrono::milliseconds limit = patience);
// The next connection, or an empty Fd after `limit`; `peer` is what accept(2) said.
Fd accept_from(const Fd& listener, SocketAddress* peer = nullptr, std::chrono::milliseconds limit = patience);
bool readable(const Fd& socket, std::chrono::milliseconds limit = patience);
SocketAddress peer_of(const Fd& socket);
SocketAddress local_of(const Fd& socket);
// Sends all; reads exactly `size` bytes or up to the end, an error or `patience`.
bool send_all(const Fd& socket, const std::string& bytes);
std::string read_exactly(const Fd& socket, std::size_t size);
// SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST by the family of the peer's address, asked as the proxy asks; an
// unspecified address and errno in `error` when there is none.
SocketAddress original_dst(const Fd& socket, int* error = nullptr);

}  // namespace heddle::test
