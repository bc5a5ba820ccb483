// SPDX-License-Identifier: Apache-2.0
#include "base/io/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace heddle {
namespace {

TEST(Cgroup, FindsTheMountOfAPureMachine) {
  auto mount = find_cgroup2_mount(
      "24 1 0:22 / /proc rw - proc proc rw\n"
      "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_TRUE(mount) << mount.error().message();
  EXPECT_EQ(*mount, "/sys/fs/cgroup");
}

TEST(Cgroup, FindsTheMountOfAHybridMachine) {
  auto mount = find_cgroup2_mount(
      "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n");
  ASSERT_TRUE(mount) << mount.error().message();
  EXPECT_EQ(*mount, "/sys/fs/cgroup/unified");
}

TEST(Cgroup, SaysHowToMountOneWhenThereIsNone) {
  auto mount = find_cgroup2_mount("24 1 0:22 / /proc rw - proc proc rw\n");
  ASSERT_FALSE(mount);
  EXPECT_NE(mount.error().message().find("mount -t cgroup2"), std::string::npos) << mount.error().message();
}

TEST(Cgroup, SurvivesLinesThatAreNoMountinfo) {
  EXPECT_FALSE(find_cgroup2_mount("\n\n - \n - cgroup\nx - "));
}

TEST(Cgroup, ThisMachinesMountHasControllers) {
  auto mount = cgroup2_mount();
  ASSERT_TRUE(mount) << mount.error().message();
  struct stat status{};
  EXPECT_EQ(::stat((*mount + "/cgroup.controllers").c_str(), &status), 0) << *mount;
}

}  // namespace
}  // namespace heddle
