// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/network.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io/netns.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

Result<> run_in(const std::string& netns, std::vector<std::string> argv, const std::string& input) {
  auto fd = open_netns(netns);
  if (!fd) return fd.error();
  SpawnSpec spec;
  spec.argv = std::move(argv);
  spec.netns = fd->get();
  auto out = run_checked(spec, input);
  if (!out) return make_error(Errc::internal, "in " + netns + ": " + out.error().message());
  return {};
}

// Writes below /proc/sys/net, which shows the namespace of whoever opens it.
Result<> set_sysctls(const std::string& netns, const std::string& assignments) {
  return run_in(netns, {"sh", "-e"}, assignments);
}

}  // namespace

Result<> make_netns(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) return make_errno(errno, "cannot make " + path);
  // In a child: the namespace of this process must not change, and /proc/self/ns/net names the new one there.
  const pid_t pid = ::fork();
  if (pid < 0) return make_errno(errno, "cannot fork");
  if (pid == 0) {
    int failed = 0;
    if (::unshare(CLONE_NEWNET) != 0 ||
        ::mount("/proc/self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      failed = errno;
    }
    ::_exit(failed);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    ::unlink(path.c_str());
    return make_errno(WIFEXITED(status) ? WEXITSTATUS(status) : EINTR,
                      "cannot make network namespace " + path);
  }
  auto fd = open_netns(path);
  if (!fd) return fd.error();
  auto inside = ScopedNetns::enter(fd->get());
  if (!inside) return inside.error();
  return bring_loopback_up();
}

void drop_netns(const std::string& path) {
  ::umount2(path.c_str(), MNT_DETACH);
  ::unlink(path.c_str());
}

Result<> run_ip(const std::string& netns, const std::string& script) {
  return run_in(netns, {"ip", "-batch", "-"}, script);
}

Result<> run_nft(const std::string& netns, const std::string& script) {
  return run_in(netns, {"nft", "-f", "-"}, script);
}

Result<> make_fabric(const std::string& fabric_netns) {
  if (auto made = make_netns(fabric_netns); !made) return made;
  return run_ip(fabric_netns,
                "link add fabric0 type bridge\n"
                "address add 172.30.0.1/24 dev fabric0\n"
                "address add fd00:172:30::1/64 dev fabric0 nodad\n"
                "link set fabric0 up\n");
}

Result<> join_fabric(const std::string& fabric_netns, const std::string& node_netns, const LabNode& node,
                     const std::vector<LabNode>& nodes) {
  if (auto made = make_netns(node_netns); !made) return made;
  const auto port = "n" + std::to_string(node.index);
  if (auto made =
          run_ip(node_netns, "link add eth0 type veth peer name " + port + " netns " + fabric_netns + "\n" +
                                 "address add " + node.ip4.to_string() + "/24 dev eth0\n" + "address add " +
                                 node.ip6.to_string() + "/64 dev eth0 nodad\n" + "link set eth0 up\n");
      !made) {
    return made;
  }
  // The bridge's far end may ask for DAD only after the link is up; pods talk IPv6 at once, so none is done.
  if (auto made = run_ip(fabric_netns, "link set " + port + " master fabric0 up\n"); !made) return made;
  if (auto set = set_sysctls(node_netns,
                             "echo 1 > /proc/sys/net/ipv4/ip_forward\n"
                             "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n"
                             "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad\n");
      !set) {
    return set;
  }
  std::string routes = "route add default via 172.30.0.1\nroute add default via fd00:172:30::1\n";
  for (const auto& other : nodes) {
    if (other.name == node.name) continue;
    routes += "route add " + other.pods4 + " via " + other.ip4.to_string() + "\n";
    routes += "route add " + other.pods6 + " via " + other.ip6.to_string() + "\n";
  }
  return run_ip(node_netns, routes);
}

}  // namespace heddle::tools
