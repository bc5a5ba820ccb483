// SPDX-License-Identifier: Apache-2.0
#include "base/io/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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

TEST(Cgroup, PrefersTheMountOfTheWholeTreeToAContainersPart) {
  auto mount = find_cgroup2_mount(
      "30 25 0:26 /kubepods/pod1/c /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
      "31 25 0:26 / /host/cgroup rw - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(mount) << mount.error().message();
  EXPECT_EQ(*mount, "/host/cgroup");
}

TEST(Cgroup, ListsTheMountsOfV1) {
  EXPECT_EQ(find_cgroup1_mounts("30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                                "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                                "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
                                "33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
            (std::vector<std::string>{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"}));
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

TEST(Cgroup, FindsThisProcessInItsFolder) {
  auto mount = cgroup2_mount();
  ASSERT_TRUE(mount) << mount.error().message();
  auto folder = cgroup2_folder(*mount, ::getpid());
  ASSERT_TRUE(folder) << folder.error().message();
  EXPECT_TRUE(folder->starts_with(*mount));
}

TEST(Cgroup, DoesNotTakeAFolderForTheProcesssWhereItIsNot) {
  auto folder = cgroup2_folder("/proc", ::getpid());
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().message().find("mount the node's /sys/fs/cgroup"), std::string::npos);
}

}  // namespace
}  // namespace heddle
