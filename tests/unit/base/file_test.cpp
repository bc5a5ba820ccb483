// SPDX-License-Identifier: Apache-2.0
#include "base/io/file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace heddle {
namespace {

class File : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/heddle-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }
  std::string folder_;
};

TEST_F(File, IsReplacedWholeWithTheGivenMode) {
  const auto path = folder_ + "/state";
  ASSERT_TRUE(write_file_atomically(path, "one", 0600));
  ASSERT_TRUE(write_file_atomically(path, "two", 0640));
  auto content = read_file(path);
  ASSERT_TRUE(content) << content.error().message();
  EXPECT_EQ(*content, "two");
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
  EXPECT_EQ(entries(), 1u) << "a temporary file was left";
}

TEST_F(File, KeepsItsOldContentWhenTheDiskIsFull) {
  const auto path = folder_ + "/state";
  ASSERT_TRUE(write_file_atomically(path, "old", 0600));
  // A file size limit fails write(2) as a full disk does, without filling one.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  auto written = write_file_atomically(path, std::string(100'000, 'x'), 0600);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message().find(path), std::string::npos) << written.error().message();
  EXPECT_EQ(*read_file(path), "old");
  EXPECT_EQ(entries(), 1u) << "a temporary file was left";
}

TEST_F(File, LargerThanTheLimitIsRefused) {
  const auto path = folder_ + "/large";
  ASSERT_TRUE(write_file_atomically(path, std::string(20'000, 'x'), 0600));
  auto content = read_file(path, 10'000);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, make_error_code(Errc::exhausted));
}

TEST_F(File, MissingNamesItsPath) {
  auto content = read_file(folder_ + "/nothing");
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code.value(), ENOENT);
  EXPECT_NE(content.error().message().find("/nothing"), std::string::npos);
}

TEST_F(File, FoldersAreMadeAlongThePathAndMayExist) {
  ASSERT_TRUE(make_directories(folder_ + "/a/b/c"));
  ASSERT_TRUE(make_directories(folder_ + "/a/b/c"));
  EXPECT_TRUE(std::filesystem::is_directory(folder_ + "/a/b/c"));
  ASSERT_TRUE(write_file_atomically(folder_ + "/a/file", "", 0600));
  EXPECT_FALSE(make_directories(folder_ + "/a/file/b"));
}

}  // namespace
}  // namespace heddle
