// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pod_entry.h"
#include "tests/bpf/fixture.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

// Where the mesh's cgroup is in relation to the pods': programs of ancestors run for descendants too.
class Nesting : public DatapathTest {
 protected:
  void expect_everything_works_with_mesh_in(const std::string& cgroup) {
    mesh_cgroup_ = cgroup;
    mesh_ = std::make_unique<SocketMaker>(cgroup, pod_netns_.get());
    enrol();
    const auto captured = capture(app_->make(AF_INET), "10.96.0.10:80");
    EXPECT_EQ(peer_of(captured.app).to_string(), "10.96.0.10:80");
    EXPECT_EQ(peer_of(captured.proxy).to_string(), local_of(captured.app).to_string());
    capture(app_->make(AF_INET6), "[fd99::10]:80");
    const Fd upstream = neighbour_->make(AF_INET);
    listen_on(upstream, "10.77.0.1:9005");
    const Fd out = brokered();
    ASSERT_EQ(connect_to(out, "10.77.0.1:9005"), 0) << counts_text();
    EXPECT_TRUE(accept_from(upstream)) << counts_text();
    const Fd app = app_->make(AF_INET);
    listen_on(app, "0.0.0.0:80");
    const Fd in = brokered();
    const auto client = to_abi(SocketAddress::parse("10.50.0.3:40000").value());
    ASSERT_EQ(::setsockopt(in.get(), HEDDLE_SOL, HEDDLE_SO_CLIENT_ADDRESS, &client, sizeof client), 0);
    ASSERT_EQ(connect_to(in, "10.77.0.2:80"), 0) << counts_text();
    EXPECT_EQ(peer_of(accept_from(app)).to_string(), "10.50.0.3:40000");
    EXPECT_TRUE(datapath_->verify(pod_, pod_netns_.get()));
  }
  Fd brokered() {
    Fd socket = mesh_->make(AF_INET);
    EXPECT_TRUE(datapath_->tag_socket(socket.get(), pod_.id));
    return socket;
  }
};

TEST_F(Nesting, WorksWhenTheAgentIsItselfAPod) {
  expect_everything_works_with_mesh_in(cgroup_.child("pods/agent"));
}

TEST_F(Nesting, WorksWhenTheAgentIsAboveThePods) {
  expect_everything_works_with_mesh_in(cgroup_.path());
}

TEST_F(Nesting, WorksWhenTheAgentSharesThePodsCgroup) {
  expect_everything_works_with_mesh_in(pods_cgroup_);
}

TEST_F(Nesting, TellsTwoPodsOfOneCgroupApart) {
  enrol();
  // A second namespace with the same address and the same cgroup, not enrolled.
  Fd other_netns = make_netns();
  Fd server_netns = make_netns();
  join_with_veth({other_netns.get(), "eth0", {"10.77.0.2/24"}},
                 {server_netns.get(), "eth0", {"10.77.0.1/24"}});
  const SocketMaker other(pods_cgroup_, other_netns.get());
  const SocketMaker server_maker(cgroup_.path(), server_netns.get());
  const Fd server = server_maker.make(AF_INET);
  listen_on(server, "10.77.0.1:80");
  const Fd client = other.make(AF_INET);
  ASSERT_EQ(connect_to(client, "10.77.0.1:80"), 0);
  EXPECT_TRUE(accept_from(server));
  capture(app_->make(AF_INET), "10.77.0.1:80");
}

}  // namespace
}  // namespace heddle::agent
