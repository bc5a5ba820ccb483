// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "control/source/source.h"
#include "scratch_folder.h"

namespace heddle::source {
namespace {

std::string pod_yaml(const std::string& name) {
  return "{apiVersion: v1, kind: Pod, metadata: {name: " + name + "}}\n";
}

class FolderSource : public ::testing::Test {
 protected:
  void start() {
    source_ = make_source("folder:" + folder_.path()).value();
    const auto started = source_->start([this](const std::shared_ptr<const Snapshot>&) {
      const std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
    ASSERT_TRUE(started) << started.error().message();
  }
  // Waits until the condition holds after some change.
  template <class Condition>
  ::testing::AssertionResult becomes(Condition condition) {
    std::unique_lock lock(mutex_);
    const bool held = changed_.wait_for(lock, std::chrono::seconds(20),
                                        [&] { return condition(*source_->current(), source_->status()); });
    if (held) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "20 s passed with " << source_->current()->objects().size()
                                         << " objects, " << source_->status().broken_files << " broken files";
  }
  ::testing::AssertionResult has_pod(const std::string& name) {
    return becomes(
        [&](const Snapshot& now, const Status&) { return now.find_pod("default", name) != nullptr; });
  }

  test::ScratchFolder folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::ostringstream told_;
  std::unique_ptr<Source> source_;
};

TEST_F(FolderSource, IsCompleteOnceStarted) {
  folder_.put("a.yaml", pod_yaml("a"));
  folder_.put("b.json", R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}})");
  folder_.put("c.yml", pod_yaml("c"));
  folder_.put("notes.txt", "not an object");
  start();
  EXPECT_EQ(source_->current()->objects().pods.size(), 3U);
  EXPECT_TRUE(source_->status().connected);
}

TEST_F(FolderSource, SeesFilesAppearChangeAndGo) {
  start();
  folder_.put("a.yaml", pod_yaml("a"));
  EXPECT_TRUE(has_pod("a"));
  folder_.put("a.yaml", pod_yaml("b"));
  EXPECT_TRUE(has_pod("b"));
  EXPECT_EQ(source_->current()->find_pod("default", "a"), nullptr);
  folder_.remove("a.yaml");
  EXPECT_TRUE(becomes([](const Snapshot& now, const Status&) { return now.objects().pods.empty(); }));
}

TEST_F(FolderSource, SeesAFileWrittenInPlaceOnceItIsClosed) {
  start();
  {
    std::ofstream file(folder_.file("a.yaml"));
    file << "{apiVersion: v1, kind: Pod, " << std::flush;
    folder_.put("b.yaml", pod_yaml("b"));
    EXPECT_TRUE(has_pod("b"));
    file << "metadata: {name: a}}\n";
  }
  EXPECT_TRUE(has_pod("a"));
  EXPECT_EQ(source_->status().errors, 0U) << "half a file was read";
}

TEST_F(FolderSource, KeepsTheLastGoodObjectsOfABrokenFile) {
  folder_.put("a.yaml", pod_yaml("a"));
  start();
  folder_.put("a.yaml", "kind: [\n");
  EXPECT_TRUE(becomes([](const Snapshot&, const Status& status) { return status.broken_files == 1; }));
  EXPECT_NE(source_->current()->find_pod("default", "a"), nullptr);
  folder_.put("a.yaml", pod_yaml("b"));
  EXPECT_TRUE(has_pod("b"));
  EXPECT_EQ(source_->status().broken_files, 0U);
  EXPECT_EQ(source_->status().errors, 1U);
}

TEST_F(FolderSource, FollowsAVolumeWhoseLinkIsSwapped) {
  std::filesystem::create_directory(folder_.file("..1"));
  std::filesystem::create_directory(folder_.file("..2"));
  std::ofstream(folder_.file("..1/pods.yaml")) << pod_yaml("a");
  std::ofstream(folder_.file("..2/pods.yaml")) << pod_yaml("b");
  std::filesystem::create_symlink("..1", folder_.file("..data"));
  std::filesystem::create_symlink("..data/pods.yaml", folder_.file("pods.yaml"));
  start();
  EXPECT_TRUE(has_pod("a"));
  std::filesystem::create_symlink("..2", folder_.file("..data_tmp"));
  std::filesystem::rename(folder_.file("..data_tmp"), folder_.file("..data"));
  EXPECT_TRUE(has_pod("b"));
}

TEST_F(FolderSource, SurvivesTheFolderGoingAndComingBack) {
  folder_.put("a.yaml", pod_yaml("a"));
  start();
  std::filesystem::rename(folder_.path(), folder_.path() + ".away");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (source_->status().connected && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_FALSE(source_->status().connected);
  EXPECT_NE(source_->current()->find_pod("default", "a"), nullptr);
  std::filesystem::rename(folder_.path() + ".away", folder_.path());
  folder_.put("b.yaml", pod_yaml("b"));
  EXPECT_TRUE(has_pod("b"));
  EXPECT_TRUE(source_->status().connected);
}

TEST_F(FolderSource, DoesNotWaitForAFifo) {
  ASSERT_EQ(::mkfifo(folder_.file("trap.yaml").c_str(), 0600), 0);
  folder_.put("a.yaml", pod_yaml("a"));
  start();
  EXPECT_EQ(source_->current()->objects().pods.size(), 1U);
  EXPECT_EQ(source_->status().broken_files, 1U);
}

TEST_F(FolderSource, TakesBackAFileThatCouldNotBeReadForAWhile) {
  folder_.put("a.yaml", pod_yaml("a"));
  start();
  ASSERT_EQ(::mkfifo(folder_.file("trap").c_str(), 0600), 0);
  std::filesystem::rename(folder_.file("trap"), folder_.file("a.yaml"));
  EXPECT_TRUE(becomes([](const Snapshot&, const Status& status) { return status.broken_files == 1; }));
  EXPECT_NE(source_->current()->find_pod("default", "a"), nullptr);
  folder_.put("a.yaml", pod_yaml("a"));  // the very content it had before
  EXPECT_TRUE(becomes([](const Snapshot&, const Status& status) { return status.broken_files == 0; }));
}

TEST_F(FolderSource, ReadsAFileWhoseModeIsPutRight) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root, to be somebody else for a while";
  folder_.put("a.yaml", pod_yaml("a"));
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(folder_.file("a.yaml").c_str(), 0600), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  start();
  EXPECT_EQ(source_->status().broken_files, 1U);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_EQ(::chmod(folder_.file("a.yaml").c_str(), 0644), 0);
  EXPECT_TRUE(has_pod("a"));
  EXPECT_EQ(source_->status().broken_files, 0U);
}

TEST_F(FolderSource, TellsOnceOfAnObjectThatIsThereTwice) {
  const auto log = std::make_shared<spdlog::sinks::ostream_sink_mt>(told_);
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", log));
  folder_.put("a.yaml", pod_yaml("a"));
  folder_.put("copy-of-a.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: a, uid: later}}\n");
  start();
  EXPECT_EQ(source_->current()->find_pod("default", "a")->meta.uid, "later");
  folder_.put("b.yaml", pod_yaml("b"));
  EXPECT_TRUE(has_pod("b"));
  folder_.remove("copy-of-a.yaml");
  EXPECT_TRUE(becomes(
      [](const Snapshot& now, const Status&) { return now.find_pod("default", "a")->meta.uid.empty(); }));
  source_.reset();
  spdlog::set_default_logger(before);
  const std::string told = told_.str();
  const auto at = told.find("Pod default/a in a.yaml and copy-of-a.yaml");
  EXPECT_NE(at, std::string::npos) << told;
  EXPECT_EQ(told.find("there twice", told.find("there twice") + 1), std::string::npos) << told;
}

TEST_F(FolderSource, TakesABurstOfFilesAsAFewChanges) {
  start();
  for (int i = 0; i < 200; ++i)
    folder_.put("p" + std::to_string(i) + ".yaml", pod_yaml("p" + std::to_string(i)));
  EXPECT_TRUE(becomes([](const Snapshot& now, const Status&) { return now.objects().pods.size() == 200; }));
  EXPECT_LT(source_->status().version, 150U);
}

TEST(MakeSource, TellsWhatItAccepts) {
  const auto source = make_source("consul:x");
  ASSERT_FALSE(source);
  EXPECT_NE(source.error().detail.find("folder:PATH"), std::string::npos) << source.error().detail;
}

TEST(MakeSource, FailsToStartOnAMissingFolder) {
  const auto source = make_source("folder:/nonexistent/folder").value();
  const auto started = source->start({});
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message().find("/nonexistent/folder"), std::string::npos);
}

}  // namespace
}  // namespace heddle::source
