// SPDX-License-Identifier: Apache-2.0
#include "tools/views/bypass.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/fd.h"
#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "base/io/netns.h"
#include "base/trial_address.h"

namespace heddle::tools {
namespace {

constexpr int answer_ms = 1000;

// The cgroup v2 of a process as a folder. In a container's own cgroup namespace it could not be told, nor
// could anybody move into it.
Result<std::string> cgroup_of(pid_t pid) {
  const auto mount = cgroup2_mount();
  if (!mount) return mount.error();
  if (auto entered = enter_node_cgroup_namespace(); !entered) return entered.error();
  return cgroup2_folder(*mount, pid);
}

// A port without a listener, looked up in the pod's own tables.
std::uint16_t unused_port(pid_t pid) {
  std::string tables;
  for (const auto* table : {"/net/tcp", "/net/tcp6"}) {
    if (const auto text = read_file("/proc/" + std::to_string(pid) + table)) tables += *text;
  }
  for (std::uint16_t port = 9; port < 1000; ++port) {
    char local[16];
    std::snprintf(local, sizeof local, ":%04X ", static_cast<unsigned>(port));
    if (tables.find(local) == std::string::npos) return port;
  }
  return 9;
}

// In a child: 0 if somebody answers, else why not, as an errno.
int connect_there(const SocketAddress& address) {
  sockaddr_storage storage{};
  const auto length = address.to_sockaddr(storage);
  const Fd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno;
  const linger reset{1, 0};  // nothing of this shall linger in the proxy
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{fd.get(), POLLOUT, 0};
  if (::poll(&wait, 1, answer_ms) != 1) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

// Connects from a network namespace (-1: the caller's) and a cgroup (empty: the caller's), in a child that
// ends with it.
Result<> connect_from(int netns, const std::string& cgroup, const SocketAddress& address) {
  constexpr int no_place = 255;
  const pid_t pid = ::fork();
  if (pid < 0) return make_errno(errno, "cannot fork");
  if (pid == 0) {
    if (netns >= 0 && ::setns(netns, CLONE_NEWNET) != 0) ::_exit(no_place);
    if (!cgroup.empty()) {
      const Fd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
      if (!procs || ::write(procs.get(), "0", 1) != 1) ::_exit(no_place);
    }
    ::_exit(connect_there(address));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : no_place;
  if (code == 0) return {};
  if (code == no_place)
    return make_error(Errc::permission_denied, "its namespace or cgroup cannot be entered");
  return make_errno(code, "a connection to " + address.to_string() + " was not taken over");
}

}  // namespace

Result<> try_outbound(const BypassTrial& trial) {
  auto netns = open_netns(trial.pod_netns);
  if (!netns) return netns.error();
  const auto cgroup = cgroup_of(trial.pid);
  if (!cgroup) return cgroup.error();
  return connect_from(netns->get(), *cgroup, trial_address(trial.ip.is_v4()));
}

Result<> try_inbound(const BypassTrial& trial) {
  Fd netns;
  if (!trial.node_netns.empty()) {
    auto opened = open_netns(trial.node_netns);
    if (!opened) return opened.error();
    netns = std::move(*opened);
  }
  return connect_from(netns.get(), {}, {trial.ip, unused_port(trial.pid)});
}

std::map<ino_t, pid_t> processes_by_netns() {
  std::map<ino_t, pid_t> out;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failed)) {
    const auto name = entry.path().filename().string();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    struct stat status{};
    if (::stat((entry.path() / "ns/net").c_str(), &status) == 0) out.emplace(status.st_ino, pid);
  }
  return out;
}

}  // namespace heddle::tools
