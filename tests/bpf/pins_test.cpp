// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pins.h"

#include <bpf/bpf.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "agent/datapath/links.h"
#include "agent/datapath/loader.h"
#include "tests/bpf/fixture.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

class Pins : public DatapathTest {
 protected:
  void reopen(const Datapath::Options& with) {
    auto opened = Datapath::open(with);
    ASSERT_TRUE(opened) << opened.error().message();
    datapath_ = std::move(*opened);
  }
  std::string links() const { return version_folder(options().pin_folder) + "/links"; }

  // The id of the program that a pinned link runs.
  static std::uint32_t program_of(const std::string& path) {
    const Fd link(bpf_obj_get(path.c_str()));
    bpf_link_info info{};
    __u32 size = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(link.get(), &info, &size), 0) << path;
    return info.prog_id;
  }
};

TEST_F(Pins, KeepEverythingWorkingWhileNoAgentRuns) {
  enrol();
  auto before = capture(app_->make(AF_INET), "10.96.0.10:80");
  datapath_.reset();
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.96.0.11:80"), 0);
  const Fd proxy = accept_from(outbound_);
  EXPECT_EQ(original_dst(proxy).to_string(), "10.96.0.11:80");
  const Fd client = neighbour_->make(AF_INET);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(inbound_));
  EXPECT_TRUE(send_all(before.app, "ping"));
  EXPECT_EQ(read_exactly(before.proxy, 4), "ping");
}

TEST_F(Pins, AreTakenOverByTheNextAgentWithNewPrograms) {
  enrol();
  const auto queued = app_->make(AF_INET);
  ASSERT_EQ(connect_to(queued, "10.96.0.10:80"), 0);
  std::map<std::string, std::uint32_t> old_programs;
  for (const auto& name : entries(links())) old_programs[name] = program_of(links() + "/" + name);
  ASSERT_EQ(old_programs.size(), 10u)
      << "connect, getpeername, getsockname: 6, sockops, probe: 2, sockopt: 2";
  datapath_.reset();
  reopen(options());
  EXPECT_EQ(entries(links()).size(), old_programs.size());
  for (const auto& [name, program] : old_programs)
    EXPECT_NE(program_of(links() + "/" + name), program) << name;
  const auto pods = datapath_->pods();
  ASSERT_EQ(pods.size(), 1u);
  EXPECT_EQ(pods[0], std::pair(pod_.netns_cookie, pod_.id));
  EXPECT_TRUE(datapath_->verify(pod_, pod_netns_.get()));
  // What was on its way over the change still has its destination.
  EXPECT_EQ(original_dst(accept_from(outbound_)).to_string(), "10.96.0.10:80");
  capture(app_->make(AF_INET), "10.96.0.12:80");
  const Fd client = neighbour_->make(AF_INET);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(inbound_));
  ASSERT_TRUE(datapath_->remove(pod_)) << "knows the addresses that the last agent wrote";
  EXPECT_TRUE(entries(version_folder(options().pin_folder) + "/netns").empty());
}

TEST_F(Pins, RenewingAPodAfterARestartNeverStopsRedirecting) {
  enrol();
  datapath_.reset();
  reopen(options());
  ASSERT_TRUE(datapath_->prepare(pod_, pod_netns_.get(), inbound_.get()));
  capture(app_->make(AF_INET), "10.96.0.12:80");
}

TEST_F(Pins, ServeListenersOfAnEarlierAgentInAnotherCgroup) {
  enrol();
  datapath_.reset();
  auto with = options();
  with.mesh_cgroup = cgroup_.child("mesh2");
  reopen(with);
  capture(app_->make(AF_INET), "10.96.0.12:80");
  const SocketMaker next(with.mesh_cgroup, pod_netns_.get());
  outbound_ = Fd();
  outbound_ = next.make(AF_INET6);
  listen_on(outbound_, "[::]:4140");
  capture(app_->make(AF_INET), "10.96.0.13:80");
}

TEST_F(Pins, DropTheExemptionOfACgroupThatIsNoLongerKubelets) {
  enrol();
  datapath_.reset();
  use_probe_cgroup_ = false;
  reopen(options());
  const Fd client = kubelet_->make(AF_INET);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(inbound_)) << counts_text();
}

TEST_F(Pins, OfAnotherLayoutAreRefusedWithAdvice) {
  ASSERT_TRUE(make_pin_folder(options().pin_folder));
  ASSERT_EQ(::mkdir((options().pin_folder + "/v999").c_str(), 0700), 0);
  const auto opened = Datapath::open(options());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, make_error_code(Errc::already_exists));
  EXPECT_NE(opened.error().message().find("uninstall"), std::string::npos) << opened.error().message();
  EXPECT_EQ(entries(options().pin_folder), std::vector<std::string>{"v999"}) << "nothing was touched";
}

TEST_F(Pins, OfAnInterruptedFirstOpenAreReplaced) {
  ASSERT_TRUE(make_pin_folder(options().pin_folder));
  ASSERT_EQ(::mkdir((options().pin_folder + "/new-1").c_str(), 0700), 0);
  enrol();
  EXPECT_EQ(entries(options().pin_folder), std::vector<std::string>{"v1"});
  capture(app_->make(AF_INET), "10.96.0.12:80");
}

TEST_F(Pins, AreAllGoneAfterUninstall) {
  enrol();
  ASSERT_TRUE(datapath_->uninstall());
  EXPECT_TRUE(entries(bpffs_.path() + "/heddle").empty());
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.77.0.1:9005");
  ASSERT_EQ(connect_to(app_->make(AF_INET), "10.77.0.1:9005"), 0);
  EXPECT_TRUE(accept_from(server));
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  ASSERT_EQ(connect_to(neighbour_->make(AF_INET), "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(app));
}

TEST_F(Pins, SurviveAnAgentThatIsKilled) {
  // The agent proper is a child; only its pins remain.
  make_listeners();
  const pid_t agent = ::fork();
  if (agent == 0) {
    auto opened = Datapath::open(options());
    const bool done = opened && (*opened)->prepare(pod_, pod_netns_.get(), inbound_.get()) &&
                      (*opened)->set_enrolled(pod_, true);
    if (!done) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(agent, &status, 0), agent);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the agent failed";
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.96.0.11:80"), 0);
  EXPECT_EQ(original_dst(accept_from(outbound_)).to_string(), "10.96.0.11:80");
  reopen(options());
  EXPECT_TRUE(datapath_->verify(pod_, pod_netns_.get()));
  capture(app_->make(AF_INET), "10.96.0.12:80");
}

}  // namespace
}  // namespace heddle::agent
