// SPDX-License-Identifier: Apache-2.0
// `heddle-cni install` as a DaemonSet runs it, beside a main CNI plugin that does as it likes.
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/io/file.h"
#include "child.h"

namespace heddle::cni::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* main_list = R"({"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"}]})";
constexpr const char* other_list = R"({"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]})";

class InstallerProcess : public testing::Test {
 protected:
  InstallerProcess() { fs::create_directories(conf_dir()); }

  std::string conf_dir() const { return folder_.path() + "/net.d"; }
  std::string list() const { return conf_dir() + "/10-main.conflist"; }
  std::string binary() const { return folder_.path() + "/bin/heddle-cni"; }
  static std::string text(const std::string& path) {
    const auto content = read_file(path, 256 * 1024 * 1024);
    return content ? *content : std::string();
  }
  bool joined(const std::string& type = "bridge") const {
    const std::string now = text(list());
    return now.find("heddle-cni") != std::string::npos && now.find(type) != std::string::npos;
  }
  void write(const std::string& path, const char* content) const {
    ASSERT_TRUE(write_file_atomically(path, content, 0644));
  }
  std::unique_ptr<Child> start(const std::string& command, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{HEDDLE_CNI_BINARY, command,     "--conf-dir",
                                   conf_dir(),        "--bin-dir", folder_.path() + "/bin"};
    words.insert(words.end(), more.begin(), more.end());
    return std::make_unique<Child>(words, Variables{}, "");
  }

  TemporaryFolder folder_;
};

TEST_F(InstallerProcess, InstallsAndUninstalls) {
  write(list(), main_list);
  EXPECT_EQ(start("install")->finish().status, 0);
  EXPECT_TRUE(joined());
  EXPECT_EQ(text(binary()), text(HEDDLE_CNI_BINARY));
  EXPECT_EQ(start("uninstall")->finish().status, 0);
  EXPECT_EQ(text(list()), main_list);
  EXPECT_FALSE(fs::exists(binary()));
}

TEST_F(InstallerProcess, FailsWithoutAConfigurationAndOnWrongUsage) {
  EXPECT_EQ(start("install")->finish().status, 1);
  EXPECT_EQ(start("install", {"--nonsense"})->finish().status, 2);
  EXPECT_EQ(start("install", {"--run-dir", "relative"})->finish().status, 1);
  EXPECT_EQ(start("frobnicate")->finish().status, 2);
}

TEST_F(InstallerProcess, TakesFlagsFromTheEnvironment) {
  write(list(), main_list);
  Child child({HEDDLE_CNI_BINARY, "install"},
              {{"HEDDLE_CONF_DIR", conf_dir()},
               {"HEDDLE_BIN_DIR", folder_.path() + "/bin"},
               {"HEDDLE_RUN_DIR", "/r"}},
              "");
  EXPECT_EQ(child.finish().status, 0);
  EXPECT_NE(text(list()).find(R"("runDir":"/r")"), std::string::npos) << text(list());
}

TEST_F(InstallerProcess, WaitsForTheFirstConfigurationOfANewNode) {
  fs::remove_all(conf_dir());
  const auto child = start("install", {"--watch"});
  fs::create_directories(conf_dir());
  write(list(), main_list);
  EXPECT_TRUE(eventually([&] { return joined(); })) << text(list());
}

TEST_F(InstallerProcess, ComesBackAfterTheMainPluginRewritesRemovesOrRecreatesItsFile) {
  write(list(), main_list);
  const auto child = start("install", {"--watch"});
  ASSERT_TRUE(eventually([&] { return joined(); }));
  write(list(), other_list);  // by rename
  EXPECT_TRUE(eventually([&] { return joined("ptp"); })) << text(list());
  std::ofstream(list()) << main_list;  // in place
  EXPECT_TRUE(eventually([&] { return joined("bridge"); })) << text(list());
  fs::remove(list());
  write(list(), other_list);
  EXPECT_TRUE(eventually([&] { return joined("ptp"); })) << text(list());
  fs::remove(binary());
  EXPECT_TRUE(eventually([&] { return fs::exists(binary()); }));
}

TEST_F(InstallerProcess, JoinsANewConfigurationThatTakesPrecedence) {
  write(list(), main_list);
  const auto child = start("install", {"--watch"});
  ASSERT_TRUE(eventually([&] { return joined(); }));
  write(conf_dir() + "/05-new.conflist", other_list);
  EXPECT_TRUE(eventually(
      [&] { return text(conf_dir() + "/05-new.conflist").find("heddle-cni") != std::string::npos; }));
}

TEST_F(InstallerProcess, LeavesTheEntryWhenItEnds) {
  for (const int number : {SIGTERM, SIGINT}) {
    write(list(), main_list);
    const auto child = start("install", {"--watch"});
    ASSERT_TRUE(eventually([&] { return joined(); }));
    child->signal(number);
    EXPECT_EQ(child->finish().status, 0);
    EXPECT_TRUE(joined());
    EXPECT_TRUE(fs::exists(binary()));
  }
}

TEST_F(InstallerProcess, LeavesWithAnAgentThatIsUninstalledAndOnlyThen) {
  const std::string run_dir = folder_.path() + "/run";
  const std::string word = run_dir + "/agent/departure";
  fs::create_directories(run_dir + "/agent");
  const std::vector<std::string> flags{"--watch", "--leave-with-agent", "--run-dir", run_dir};
  for (const std::string last : {"replaced\n", "uninstalled\n"}) {
    write(list(), main_list);
    write(word, "uninstalled\n");  // of an agent before
    const auto child = start("install", flags);
    ASSERT_TRUE(eventually([&] { return joined(); }));
    EXPECT_FALSE(fs::exists(word));
    child->signal(SIGTERM);
    write(word, last.c_str());
    EXPECT_EQ(child->finish().status, 0);
    const bool leaves = last == "uninstalled\n";
    EXPECT_EQ(joined(), !leaves);
    EXPECT_EQ(fs::exists(binary()), !leaves);
    EXPECT_FALSE(fs::exists(word));
    if (leaves) {
      EXPECT_EQ(text(list()), main_list);
    }
  }
}

TEST_F(InstallerProcess, StaysWhenItIsToldTwiceToEndBeforeTheAgentSpoke) {
  write(list(), main_list);
  const auto child =
      start("install", {"--watch", "--leave-with-agent", "--run-dir", folder_.path() + "/run"});
  ASSERT_TRUE(eventually([&] { return joined(); }));
  child->signal(SIGTERM);
  child->signal(SIGINT);
  EXPECT_EQ(child->finish().status, 0);
  EXPECT_TRUE(joined());
}

TEST_F(InstallerProcess, FightsNobodyAtFullSpeed) {
  write(list(), main_list);
  const auto child = start("install", {"--watch"});
  ASSERT_TRUE(eventually([&] { return joined(); }));
  int restored = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    if (!joined("")) continue;
    ++restored;
    write(list(), main_list);
  }
  EXPECT_GE(restored, 3);
  EXPECT_LE(restored, 6) << "restored " << restored << " times in two seconds";
}

TEST_F(InstallerProcess, ChangesNothingInAReadOnlyFolder) {
  write(list(), main_list);
  if (::mount(conf_dir().c_str(), conf_dir().c_str(), nullptr, MS_BIND, nullptr) != 0) {
    GTEST_SKIP() << "needs root to make a folder read-only";
  }
  ASSERT_EQ(::mount(nullptr, conf_dir().c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  const auto ended = start("install")->finish();
  ASSERT_EQ(::umount(conf_dir().c_str()), 0);
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(text(list()), main_list);
  EXPECT_EQ(std::distance(fs::directory_iterator(conf_dir()), fs::directory_iterator()), 1)
      << "a file was left behind";
}

}  // namespace
}  // namespace heddle::cni::test
