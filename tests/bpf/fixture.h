// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "agent/datapath/datapath.h"
#include "tests/support/netns_lab.h"

namespace heddle::agent {

// One enrolled pod and a neighbour on a cable, the real datapath between them:
//
//   pod 10.77.0.2, fd77::2  eth0 ==== eth0  10.77.0.1, fd77::1 neighbour (not meshed; plays servers and
//   clients)
//
//   cgroups: pods (the app), mesh (listeners, brokered sockets), kubelet, and the test's own for the
//   neighbour
class DatapathTest : public ::testing::Test {
 protected:
  static constexpr std::uint16_t outbound_port = 4140;
  static constexpr std::uint16_t inbound_port = 4143;

  DatapathTest();

  Datapath::Options options() const;
  InterceptedPod pod() const { return pod_; }
  // Listeners made, prepared, enrolled.
  void enrol();
  // prepare() and set_enrolled() again, after a change of pod_.
  void enrol_again();
  void make_listeners();

  // A connection of the app, which is expected to be captured: the accepted side and what the proxy learns.
  struct Captured {
    Fd app;
    Fd proxy;
    SocketAddress original;
    int connect_result = 0;
  };
  Captured capture(Fd app, const std::string& dst);
  std::uint64_t count(heddle_verdict verdict, std::uint32_t id) const {
    return datapath_->counts(id)[verdict];
  }
  std::uint64_t count(heddle_verdict verdict) const { return count(verdict, pod_.id); }
  std::string counts_text() const;
  // Number of entries of a pinned map.
  int map_entries(const std::string& name) const;
  // What very many connections of others would do.
  void forget_destinations() const;

  test::TestBpffs bpffs_;
  test::TestCgroup cgroup_;
  std::string pods_cgroup_, mesh_cgroup_, kubelet_cgroup_;
  bool use_probe_cgroup_ = true;
  Fd pod_netns_, neighbour_netns_;
  // Forked before any thread or descriptor of the test that they could inherit.
  std::unique_ptr<test::SocketMaker> app_, mesh_, neighbour_, kubelet_;
  InterceptedPod pod_;
  Fd outbound_, inbound_;
  std::unique_ptr<Datapath> datapath_;
};

}  // namespace heddle::agent
