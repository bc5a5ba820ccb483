// SPDX-License-Identifier: Apache-2.0
#include "agent/node_cgroups.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace heddle::agent {
namespace {

// Folders that stand for mounted hierarchies.
class NodeCgroups : public ::testing::Test {
 protected:
  NodeCgroups() {
    char pattern[] = "/tmp/heddle-node-cgroups-XXXXXX";
    if (::mkdtemp(pattern) == nullptr) throw std::runtime_error("mkdtemp");
    root_ = pattern;
    mount_ = make("unified");
  }
  ~NodeCgroups() override { std::filesystem::remove_all(root_); }

  std::string make(const std::string& path, bool with_processes = false) {
    std::filesystem::create_directories(root_ + "/" + path);
    if (with_processes) std::ofstream(root_ + "/" + path + "/cgroup.events") << "populated 1\nfrozen 0\n";
    return root_ + "/" + path;
  }

  std::string find(const std::string& own = "") {
    const auto found = find_pods_cgroup(mount_, own.empty() ? mount_ : own,
                                        "30 25 0:26 / " + root_ + " rw - tmpfs tmpfs rw\n31 30 0:27 / " +
                                            root_ + "/cpu rw - cgroup cgroup rw,cpu\n");
    return found ? found->substr(mount_.size()) : "error: " + found.error().message();
  }

  std::string root_, mount_;
};

TEST_F(NodeCgroups, AreThoseThatTheAgentIsIn) {
  make("unified/kubepods");
  EXPECT_EQ(
      find(make("unified/docker/1f/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/x")),
      "/docker/1f/kubelet.slice/kubelet-kubepods.slice");
}

TEST_F(NodeCgroups, AreFoundByTheKubeletsNames) {
  make("unified/system.slice/kubepods-of-nobody");
  make("unified/kubepods.slice/kubepods-burstable.slice");
  EXPECT_EQ(find(make("unified/system.slice/heddle-agent.service")), "/kubepods.slice");
}

TEST_F(NodeCgroups, AreFoundBelowAKubeletsOwnRoot) {
  make("unified/kubelet.slice/kubelet-kubepods.slice");
  EXPECT_EQ(find(), "/kubelet.slice/kubelet-kubepods.slice");
}

TEST_F(NodeCgroups, AreRatherOnesWithProcesses) {
  make("unified/kubepods");
  make("unified/kubepods.slice", true);
  EXPECT_EQ(find(), "/kubepods.slice");
}

TEST_F(NodeCgroups, AreMadeWhereTheKubeletHasMadeThemInV1Only) {
  make("cpu/kubepods/burstable");
  EXPECT_EQ(find(), "/kubepods");
  EXPECT_TRUE(std::filesystem::is_directory(mount_ + "/kubepods"));
}

TEST_F(NodeCgroups, AreMissingUntilThereIsAKubelet) {
  make("cpu/system.slice");
  EXPECT_NE(find().find("the kubelet makes it when it starts"), std::string::npos) << find();
  EXPECT_TRUE(std::filesystem::is_empty(mount_));
}

}  // namespace
}  // namespace heddle::agent
