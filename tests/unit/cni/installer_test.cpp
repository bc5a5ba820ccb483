// SPDX-License-Identifier: Apache-2.0
#include "cni/installer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/io/file.h"
#include "cni/conf_folder.h"

namespace heddle::cni {
namespace {

namespace fs = std::filesystem;

constexpr const char* main_list =
    "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"net\",\n  \"plugins\": [\n    "
    "{\"type\": \"bridge\"}\n  ]\n}\n";
constexpr const char* main_conf = R"({"cniVersion":"0.4.0","name":"net","type":"bridge"})";

class InstallerTest : public testing::Test {
 protected:
  InstallerTest() {
    std::string pattern = (fs::temp_directory_path() / "heddle-installer-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directories(root_ / "net.d");
    write(root_ / "plugin", "binary 1");
    options_.conf_dir = (root_ / "net.d").string();
    options_.bin_dir = (root_ / "bin").string();
    options_.binary = (root_ / "plugin").string();
  }
  ~InstallerTest() override { fs::remove_all(root_); }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const fs::path& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }
  fs::path conf(const std::string& name) const { return root_ / "net.d" / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(root_ / "net.d")) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
  bool meshed(const std::string& name) const {
    return read(conf(name)).find("heddle-cni") != std::string::npos;
  }
  static mode_t mode(const fs::path& path) {
    struct stat info{};
    ::stat(path.c_str(), &info);
    return info.st_mode & 07777;
  }

  fs::path root_;
  InstallOptions options_;
};

TEST_F(InstallerTest, JoinsTheFirstListByNameAndKeepsItsMode) {
  write(conf("20-other.conflist"), main_list);
  write(conf("10-main.conflist"), main_list);
  write(conf("05-notes.txt"), "not a configuration");
  ::chmod(conf("10-main.conflist").c_str(), 0640);
  const auto report = install(options_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->list_changed);
  EXPECT_TRUE(meshed("10-main.conflist"));
  EXPECT_FALSE(meshed("20-other.conflist"));
  EXPECT_EQ(mode(conf("10-main.conflist")), 0640u);
  EXPECT_EQ(read(conf("10-main.conflist.heddle-backup")), main_list);
  EXPECT_EQ(read(root_ / "bin/heddle-cni"), "binary 1");
  EXPECT_EQ(mode(root_ / "bin/heddle-cni"), 0755u);
}

TEST_F(InstallerTest, ChangesNothingTheSecondTime) {
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(install(options_));
  struct stat before{};
  ::stat(conf("10-main.conflist").c_str(), &before);
  const auto again = install(options_);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->list_changed);
  EXPECT_FALSE(again->binary_changed);
  struct stat after{};
  ::stat(conf("10-main.conflist").c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(InstallerTest, ReplacesTheBinaryByANewFile) {
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(install(options_));
  struct stat before{};
  ::stat((root_ / "bin/heddle-cni").c_str(), &before);
  write(root_ / "plugin", "binary 2");
  const auto report = install(options_);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->binary_changed);
  EXPECT_EQ(read(root_ / "bin/heddle-cni"), "binary 2");
  struct stat after{};
  ::stat((root_ / "bin/heddle-cni").c_str(), &after);
  EXPECT_NE(before.st_ino, after.st_ino) << "a running plugin's file was written to";
}

TEST_F(InstallerTest, LeavesNoTraceWhenItIsUninstalled) {
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(install(options_));
  ASSERT_TRUE(uninstall(options_));
  EXPECT_EQ(read(conf("10-main.conflist")), main_list);
  EXPECT_EQ(names(), (std::vector<std::string>{"10-main.conflist"}));
  EXPECT_FALSE(fs::exists(root_ / "bin/heddle-cni"));
  EXPECT_TRUE(uninstall(options_)) << "the second time too";
}

TEST_F(InstallerTest, TurnsASingleConfigurationIntoAListAndBack) {
  for (const char* name : {"10-main.conf", "10-main.json"}) {
    write(conf(name), main_conf);
    ::chmod(conf(name).c_str(), 0600);
    const auto report = install(options_);
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(report->file, conf("10-main.conflist").string());
    EXPECT_THAT(names(),
                testing::UnorderedElementsAre("10-main.conflist", std::string(name) + ".heddle-original"));
    EXPECT_EQ(mode(conf("10-main.conflist")), 0600u);
    EXPECT_FALSE(install(options_)->list_changed);
    ASSERT_TRUE(uninstall(options_));
    EXPECT_EQ(names(), (std::vector<std::string>{name}));
    EXPECT_EQ(read(conf(name)), main_conf);
    fs::remove(conf(name));
  }
}

TEST_F(InstallerTest, ConvertsAgainWhenTheMainPluginWritesItsSingleConfigurationAgain) {
  write(conf("10-main.conf"), main_conf);
  ASSERT_TRUE(install(options_));
  write(conf("10-main.conf"), R"({"cniVersion":"0.4.0","name":"net","type":"bridge","mtu":9000})");
  const auto report = install(options_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(meshed("10-main.conflist"));
  EXPECT_NE(read(conf("10-main.conflist")).find("9000"), std::string::npos);
  EXPECT_FALSE(fs::exists(conf("10-main.conf")));
}

TEST_F(InstallerTest, RefusesToReplaceSomebodyElsesListByAConversion) {
  write(conf("10-main.conf"), main_conf);
  write(conf("10-main.conflist"), main_list);
  EXPECT_FALSE(install(options_));
  EXPECT_EQ(read(conf("10-main.conflist")), main_list);
  EXPECT_EQ(read(conf("10-main.conf")), main_conf);
}

TEST_F(InstallerTest, OwnsTheFirstListWhenAskedAndLeavesTheMainOneAlone) {
  write(conf("10-main.conflist"), main_list);
  ::chmod(conf("10-main.conflist").c_str(), 0600);
  options_.own_first = true;
  const auto report = install(options_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->file, conf("00-heddle.conflist").string());
  EXPECT_TRUE(meshed("00-heddle.conflist"));
  EXPECT_EQ(mode(conf("00-heddle.conflist")), 0600u);
  EXPECT_EQ(read(conf("10-main.conflist")), main_list);
  EXPECT_FALSE(install(options_)->list_changed);
  write(conf("10-main.conflist"), R"({"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]})");
  EXPECT_TRUE(install(options_)->list_changed) << "the copy follows the main file";
  EXPECT_NE(read(conf("00-heddle.conflist")).find("ptp"), std::string::npos);
  ASSERT_TRUE(uninstall(options_));
  EXPECT_EQ(names(), (std::vector<std::string>{"10-main.conflist"}));
}

TEST_F(InstallerTest, DropsItsOwnListWhenAskedToJoinInstead) {
  write(conf("10-main.conflist"), main_list);
  options_.own_first = true;
  ASSERT_TRUE(install(options_));
  options_.own_first = false;
  ASSERT_TRUE(install(options_));
  EXPECT_FALSE(fs::exists(conf("00-heddle.conflist")));
  EXPECT_TRUE(meshed("10-main.conflist"));
}

TEST_F(InstallerTest, KeepsItsOwnListWhileTheMainOneIsAway) {
  write(conf("10-main.conflist"), main_list);
  options_.own_first = true;
  ASSERT_TRUE(install(options_));
  fs::remove(conf("10-main.conflist"));
  const auto away = install(options_);
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, Errc::not_found);
  EXPECT_TRUE(meshed("00-heddle.conflist"));
  write(conf("10-main.conflist"), R"({"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]})");
  EXPECT_TRUE(install(options_)->list_changed);
  EXPECT_NE(read(conf("00-heddle.conflist")).find("ptp"), std::string::npos);
  fs::remove(conf("10-main.conflist"));
  ASSERT_TRUE(uninstall(options_));
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(InstallerTest, SaysSoWhenItCannotBeFirst) {
  write(conf("00-aaa.conflist"), main_list);
  options_.own_first = true;
  const auto report = install(options_);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().detail.find("--own-first"), std::string::npos) << report.error().detail;
}

TEST_F(InstallerTest, ChangesNothingOnBrokenJson) {
  write(conf("10-main.conflist"), "{\"plugins\": [");
  write(conf("20-other.conflist"), main_list);
  const auto report = install(options_);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().detail.find("10-main.conflist"), std::string::npos) << report.error().detail;
  EXPECT_EQ(read(conf("10-main.conflist")), "{\"plugins\": [");
  EXPECT_EQ(names(), (std::vector<std::string>{"10-main.conflist", "20-other.conflist"}));
}

TEST_F(InstallerTest, NamesTheFolderWhenThereIsNothingToJoin) {
  auto report = install(options_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::not_found);
  EXPECT_NE(report.error().detail.find("--watch"), std::string::npos);
  fs::remove_all(root_ / "net.d");
  report = install(options_);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().detail.find(options_.conf_dir), std::string::npos);
}

TEST_F(InstallerTest, FollowsASymbolicLinkInsteadOfReplacingIt) {
  fs::create_directories(root_ / "real");
  write(root_ / "real/list", main_list);
  fs::create_symlink(root_ / "real/list", conf("10-main.conflist"));
  ASSERT_TRUE(install(options_));
  EXPECT_TRUE(fs::is_symlink(conf("10-main.conflist")));
  EXPECT_NE(read(root_ / "real/list").find("heddle-cni"), std::string::npos);
}

TEST_F(InstallerTest, KeepsTheBinaryWhileAListThatCannotBeEditedNamesIt) {
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(install(options_));
  write(conf("10-main.conflist"), "{\"plugins\":[{\"type\":\"heddle-cni\"}");
  EXPECT_FALSE(uninstall(options_));
  EXPECT_TRUE(fs::exists(root_ / "bin/heddle-cni"));
}

TEST_F(InstallerTest, NoticesThatAFileChangedWhileItWasEdited) {
  write(conf("10-main.conflist"), main_list);
  const auto file = read_conf(conf("10-main.conflist").string());
  ASSERT_TRUE(file);
  write(conf("10-main.conflist"), main_conf);
  const auto replaced = replace_conf(*file, "lost update");
  ASSERT_FALSE(replaced);
  EXPECT_EQ(read(conf("10-main.conflist")), main_conf);
}

TEST_F(InstallerTest, NeverUndoesARewriteOfTheSameMoment) {
  const std::string path = conf("10-main.conflist").string();
  for (int round = 0; round < 100; ++round) {
    const std::string old_text = "old " + std::to_string(round);
    const std::string new_text = "new " + std::to_string(round);
    write(path, old_text);
    const auto file = read_conf(path);
    ASSERT_TRUE(file);
    std::thread other([&] { EXPECT_TRUE(write_file_atomically(path, new_text, 0644)); });
    (void)replace_conf(*file, old_text + " with heddle").has_value();
    other.join();
    ASSERT_EQ(read(path), new_text) << "round " << round;
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"10-main.conflist"}));
}

TEST_F(InstallerTest, ClearsAwayWhatAKilledInstallerLeft) {
  write(conf("10-main.conflist"), main_list);
  write(conf("10-main.conflist.heddle-new"), "half");
  write(conf("10-main.conflist.heddle-backup.tmp.4711"), "half");
  write(conf("10-main.conflist.tmp.4711"), "somebody else's");
  fs::create_directories(root_ / "bin");
  write(root_ / "bin/heddle-cni.tmp.4711", "half a binary");
  write(root_ / "bin/bridge.tmp.1", "somebody else's");
  ASSERT_TRUE(install(options_));
  EXPECT_THAT(names(), testing::UnorderedElementsAre("10-main.conflist", "10-main.conflist.heddle-backup",
                                                     "10-main.conflist.tmp.4711"));
  EXPECT_FALSE(fs::exists(root_ / "bin/heddle-cni.tmp.4711"));
  EXPECT_TRUE(fs::exists(root_ / "bin/bridge.tmp.1"));
  // Killed between the list and its backup.
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(uninstall(options_));
  EXPECT_THAT(names(), testing::UnorderedElementsAre("10-main.conflist", "10-main.conflist.tmp.4711"));
}

TEST_F(InstallerTest, MakesABinaryThatCannotBeRunRunnable) {
  write(conf("10-main.conflist"), main_list);
  ASSERT_TRUE(install(options_));
  ::chmod((root_ / "bin/heddle-cni").c_str(), 0644);
  const auto report = install(options_);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->binary_changed);
  EXPECT_EQ(mode(root_ / "bin/heddle-cni"), 0755u);
}

}  // namespace
}  // namespace heddle::cni
