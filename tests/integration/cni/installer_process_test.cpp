// SPDX-License-Identifier: Apache-2.0
// `heddle-cni install` as a DaemonSet runs it, beside a main CNI plugin that does as it likes.
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

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
  const std::string log = folder_.path() + "/log";
  const Child child({"/bin/sh", "-c",
                     "exec " HEDDLE_CNI_BINARY " install --watch --conf-dir " + conf_dir() + " --bin-dir " +
                         folder_.path() + "/bin 2>" + log},
                    {}, "");
  ASSERT_TRUE(eventually([&] { return joined(); }));
  int restored = 0;
  const auto told = [&] { return text(log).find("cni.exclusive=false") != std::string::npos; };
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::duration<double> took{};
  while (took < std::chrono::seconds(2) || (took < std::chrono::seconds(20) && !told())) {
    took = std::chrono::steady_clock::now() - begin;
    if (!joined("")) continue;
    ++restored;
    write(list(), main_list);
  }
  EXPECT_TRUE(told()) << "nobody is told what to do: " << text(log);
  EXPECT_LE(restored, 3 * took.count() + 1) << "in " << took.count() << " s";
}

// What a runtime sees of an upgrade: the plugin is replaced over and over while it is run.
TEST_F(InstallerProcess, HarmsNoRunningAddWhenItReplacesThePlugin) {
  write(list(), main_list);
  const std::string second = folder_.path() + "/heddle-cni-2";  // another build: bytes behind the program
  ASSERT_TRUE(write_file_atomically(second, text(HEDDLE_CNI_BINARY) + "second", 0755));
  ASSERT_EQ(start("install")->finish().status, 0);

  std::atomic<bool> ending = false;
  std::atomic<int> added = 0;
  std::atomic<int> failed = 0;
  std::string first_failure;
  std::thread runtime([&] {
    while (!ending) {
      Child add({binary()},
                {{"CNI_COMMAND", "ADD"},
                 {"CNI_CONTAINERID", "c1"},
                 {"CNI_NETNS", "/proc/self/ns/net"},
                 {"CNI_NETNS_OVERRIDE", "1"},
                 {"CNI_IFNAME", "eth0"},
                 {"CNI_ARGS", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=p"}},
                R"({"cniVersion":"1.0.0","name":"n","runDir":")" + folder_.path() +
                    R"(","prevResult":{"cniVersion":"1.0.0"}})");
      const auto ended = add.finish();
      if (ended.status == 0 && ended.output == "{\"cniVersion\":\"1.0.0\"}\n") {
        ++added;
      } else if (failed++ == 0) {
        first_failure = std::to_string(ended.status) + " " + ended.output;
      }
    }
  });
  for (int i = 0; i < 10; ++i) {
    const std::string& from = i % 2 == 0 ? second : HEDDLE_CNI_BINARY;
    Child installer({from, "install", "--conf-dir", conf_dir(), "--bin-dir", folder_.path() + "/bin"}, {},
                    "");
    EXPECT_EQ(installer.finish().status, 0);
    EXPECT_EQ(text(binary()).size(), text(from).size());
    const int before = added;
    EXPECT_TRUE(eventually([&] { return added > before || failed > 0; }));
  }
  ending = true;
  runtime.join();
  EXPECT_GE(added, 10);
  EXPECT_EQ(failed, 0) << first_failure;
}

// The worst order after a reboot: the main network has written its file without us, the run folder is empty,
// no agent is there, and the runtime starts pods at once.
TEST_F(InstallerProcess, IsBackInTheChainAfterARebootThatRewroteIt) {
  write(list(), main_list);
  ASSERT_EQ(start("install")->finish().status, 0);
  ASSERT_TRUE(joined());
  // Left from before the reboot, nobody rewrote it: the chain holds, and the plugin lets its own kind pass.
  const auto add = [&](const char* ns) {
    Child child({binary()},
                {{"CNI_COMMAND", "ADD"},
                 {"CNI_CONTAINERID", "c1"},
                 {"CNI_NETNS", "/proc/self/ns/net"},
                 {"CNI_NETNS_OVERRIDE", "1"},
                 {"CNI_IFNAME", "eth0"},
                 {"CNI_ARGS", std::string("K8S_POD_NAME=p;K8S_POD_NAMESPACE=") + ns}},
                R"({"cniVersion":"1.0.0","name":"n","runDir":")" + folder_.path() +
                    R"(/empty","prevResult":{"cniVersion":"1.0.0"}})");
    return child.finish();
  };
  EXPECT_EQ(add("kube-system").status, 0);
  EXPECT_EQ(add("heddle").status, 0);
  EXPECT_NE(add("shop").output.find("\"code\":11"), std::string::npos);
  // Rewritten by the main network at boot: pods that start now are not asked about; then the installer comes.
  write(list(), other_list);
  EXPECT_FALSE(joined("ptp"));
  const auto child = start("install", {"--watch"});
  EXPECT_TRUE(eventually([&] { return joined("ptp"); })) << text(list());
  // And its own agent writes it once more when it is ready.
  write(list(), main_list);
  EXPECT_TRUE(eventually([&] { return joined("bridge"); })) << text(list());
}

TEST_F(InstallerProcess, ChangesNothingInAReadOnlyFolder) {
  write(list(), main_list);
  ASSERT_EQ(::mount(conf_dir().c_str(), conf_dir().c_str(), nullptr, MS_BIND, nullptr), 0) << "needs root";
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
