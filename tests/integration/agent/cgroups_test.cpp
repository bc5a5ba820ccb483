// SPDX-License-Identifier: Apache-2.0
// An agent that is a pod itself, as runtimes start one where cgroup v2 is all there is: in a cgroup namespace
// of its own, with the node's /sys/fs/cgroup mounted and the node's processes in sight.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/io/cgroup.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

void join(const std::string& cgroup) {
  const Fd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) != 1) ::_exit(126);
}

constexpr const char* pure_mount = "/sys/fs/cgroup";
constexpr std::chrono::milliseconds limit{20'000};

// What runc does for a container of such a pod; on a hybrid machine cgroup v2 takes the place of v1 for it.
void become_container(const std::string& mount, const std::string& cgroup, const std::string& spare_folder) {
  join(cgroup);
  if (::unshare(CLONE_NEWCGROUP | CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    ::_exit(125);
  if (mount == pure_mount) return;
  if (::mount(mount.c_str(), spare_folder.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
      ::umount2(pure_mount, MNT_DETACH) != 0 ||
      ::mount(spare_folder.c_str(), pure_mount, nullptr, MS_MOVE, nullptr) != 0)
    ::_exit(124);
}

// A process that is named like the node's kubelet and does nothing.
class Kubelet {
 public:
  explicit Kubelet(const std::string& cgroup) : pid_(::fork()) {
    if (pid_ != 0) {
      test::eventually([this] { return named(); }, limit);
      return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    join(cgroup);
    ::prctl(PR_SET_NAME, "kubelet");
    while (true) ::pause();
  }
  Kubelet(const Kubelet&) = delete;
  Kubelet& operator=(const Kubelet&) = delete;
  ~Kubelet() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  bool named() const {
    char name[16] = {};
    const Fd comm(::open(("/proc/" + std::to_string(pid_) + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
    return comm && ::read(comm.get(), name, sizeof name - 1) > 0 && std::string_view(name) == "kubelet\n";
  }
  pid_t pid_;
};

class PodAgentTest : public AgentTest {
 protected:
  PodAgentTest() {
    pods_ = cgroup_.child("kubepods");
    app_pod_ = cgroup_.child("kubepods/podb");
    cgroup_.child("kubepods/poda");
    own_ = cgroup_.child("kubepods/poda/agent");
    kubelet_ = cgroup_.child("kubelet");
    place_ = [this, mount = cgroup2_mount().value()] { become_container(mount, own_, objects_); };
  }

  // The folder as the agent's mounts show it.
  std::string seen_by_agent(const std::string& folder) const {
    return pure_mount + folder.substr(cgroup2_mount().value().size());
  }

  std::set<std::string> links() const {
    std::set<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(bpffs_.path() + "/heddle/v1/links")) {
      out.insert(entry.path().filename().string());
    }
    return out;
  }

  std::string pods_, app_pod_, own_, kubelet_;
};

std::string on(const std::string& hook, const std::string& cgroup) {
  struct stat status{};
  EXPECT_EQ(::stat(cgroup.c_str(), &status), 0) << cgroup;
  return hook + "-" + std::to_string(status.st_ino);
}

TEST_F(PodAgentTest, AttachesToItsOwnThePodsAndTheKubeletsCgroupAndToNoOther) {
  const Kubelet kubelet(kubelet_);
  start({"--pods-cgroup", "auto"});
  const auto all = links();
  for (const auto& link : {on("connect4", pods_), on("connect6", pods_), on("getpeername4", pods_),
                           on("getpeername6", pods_), on("sockops", pods_), on("getsockopt", own_),
                           on("setsockopt", own_), on("probe_sockops", kubelet_)}) {
    EXPECT_TRUE(all.contains(link)) << link;
  }
  for (const auto& link : all) {
    EXPECT_TRUE(std::set<std::string>({on("", pods_), on("", own_), on("", kubelet_)})
                    .contains(link.substr(link.rfind('-'))))
        << link << " is on another cgroup";
  }
  EXPECT_NE(log().find("the kubelet's cgroup path=" + seen_by_agent(kubelet_)), std::string::npos);
}

TEST_F(PodAgentTest, MeshesAPod) {
  start({"--pods-cgroup", "auto"});
  FakeProxy proxy(proxy_socket());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id, limit));
  const test::SocketMaker app(app_pod_, pod.netns.get());
  const Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80", limit), 0);
  const Fd accepted = test::accept_from(Fd(::dup(proxy.listener(pod.id, false))), nullptr, limit);
  ASSERT_TRUE(accepted);
  EXPECT_EQ(test::original_dst(accepted).to_string(), "192.0.2.1:80");
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
}

TEST_F(PodAgentTest, ExemptsTheMeshsSocketsFromNatRules) {
  start({"--interception", "iptables"});
  FakeProxy proxy(proxy_socket());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id, limit));
  const test::SocketMaker neighbour(cgroup_.path(), neighbour_.get());
  const Fd server = neighbour.make(AF_INET6);
  test::listen_on(server, "[::]:80");
  const std::string address = pod.ip.substr(0, pod.ip.rfind('.')) + ".1:80";
  const Fd brokered = proxy.take_socket(proxy.pod(pod.id)->id(), false);
  ASSERT_TRUE(brokered);
  EXPECT_EQ(test::connect_to(brokered, address, limit), 0);
  EXPECT_TRUE(test::accept_from(server, nullptr, limit))
      << test::run_in(pod.netns.get(), "nft list ruleset").output;
  const test::SocketMaker app(app_pod_, pod.netns.get());
  const Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, address, limit), 0);
  EXPECT_TRUE(test::accept_from(Fd(::dup(proxy.listener(pod.id, false))), nullptr, limit));
}

// Of another pod whose cgroup has a part of its path in common with one's own.
TEST_F(PodAgentTest, FindsTheCgroupOfAnothersProcess) {
  const pid_t other = ::fork();
  if (other == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    join(app_pod_);
    while (true) ::pause();
  }
  const auto expected = seen_by_agent(app_pod_);
  ASSERT_TRUE(test::eventually(
      [&] {
        const auto folder = cgroup2_folder(cgroup2_mount().value(), other);
        return folder && *folder == app_pod_;
      },
      limit));
  const pid_t container = ::fork();
  if (container == 0) {
    place_();
    const bool blind = !cgroup2_folder(pure_mount, other);
    const auto entered = enter_node_cgroup_namespace();
    const auto folder = cgroup2_folder(pure_mount, other);
    join(folder ? *folder : "/none");
    const auto own = cgroup2_folder(pure_mount, ::getpid());
    ::_exit((blind ? 0 : 1) + (entered ? 0 : 2) + (folder && *folder == expected ? 0 : 4) +
            (own && *own == expected ? 0 : 8));
  }
  int status = 0;
  ::waitpid(container, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

TEST_F(AgentTest, TakesEbpfOnceThereIsACgroupOfPods) {
  const std::string pods = cgroup_.path() + "/later";
  start({"--pods-cgroup", pods});
  FakeProxy proxy(proxy_socket());
  EXPECT_NE(log().find("mode=iptables"), std::string::npos);
  const TestPod early = make_pod();
  ASSERT_EQ(add(early).code(), 0u);
  EXPECT_NE(state().find("\"iptables\""), std::string::npos) << state();

  cgroup_.child("later");
  const TestPod pod = make_wired_pod();
  const auto added = add(pod);
  ASSERT_EQ(added.code(), 0u) << added.msg();
  const test::SocketMaker app(pods, pod.netns.get());
  const Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80", limit), 0);
  ASSERT_TRUE(proxy.has_pod(pod.id, limit));
  const Fd accepted = test::accept_from(Fd(::dup(proxy.listener(pod.id, false))), nullptr, limit);
  ASSERT_TRUE(accepted);
  EXPECT_EQ(test::original_dst(accepted).to_string(), "192.0.2.1:80");
  EXPECT_EQ(test::run_in(pod.netns.get(), "nft list ruleset").output, "") << "it has nat rules";
  EXPECT_NE(log().find("interception mode=ebpf"), std::string::npos);
  EXPECT_EQ(check(early).code(), 0u) << check(early).msg();
}

}  // namespace
}  // namespace heddle::agent
