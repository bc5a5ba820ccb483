// SPDX-License-Identifier: Apache-2.0
// The plugin is copied to hosts of unknown distributions: it may need nothing of theirs.
#include <elf.h>

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/io/file.h"
#include "child.h"

namespace heddle::cni::test {
namespace {

class StaticBinary : public testing::Test {
 protected:
  void SetUp() override {
    image_ = read_file(HEDDLE_CNI_BINARY, 256 * 1024 * 1024).value();
    ASSERT_GT(image_.size(), sizeof header_);
    std::memcpy(&header_, image_.data(), sizeof header_);
  }
  std::string image_;
  Elf64_Ehdr header_{};
};

TEST_F(StaticBinary, NamesNoLoaderAndNoLibrary) {
  for (int i = 0; i < header_.e_phnum; ++i) {
    Elf64_Phdr segment{};
    std::memcpy(&segment, image_.data() + header_.e_phoff + static_cast<std::size_t>(i) * sizeof segment,
                sizeof segment);
    EXPECT_NE(segment.p_type, static_cast<Elf64_Word>(PT_INTERP));
    if (segment.p_type != PT_DYNAMIC) continue;
    for (std::size_t at = segment.p_offset; at < segment.p_offset + segment.p_filesz;
         at += sizeof(Elf64_Dyn)) {
      Elf64_Dyn entry{};
      std::memcpy(&entry, image_.data() + at, sizeof entry);
      EXPECT_NE(entry.d_tag, DT_NEEDED);
    }
  }
}

TEST_F(StaticBinary, HoldsNoResolverAndNoNameService) {
  // Undefined or defined, a symbol's name would be in the string table.
  for (const char* name : {"getaddrinfo", "gethostbyname", "getpwnam", "getpwuid", "__nss_lookup"}) {
    EXPECT_EQ(image_.find(std::string("\0", 1) + name + std::string("\0", 1)), std::string::npos) << name;
  }
}

TEST_F(StaticBinary, RunsInAnEmptyRoot) {
  const TemporaryFolder root;
  ASSERT_TRUE(write_file_atomically(root.path() + "/heddle-cni", image_, 0755));
  Child child({"/usr/sbin/chroot", root.path(), "/heddle-cni"}, {{"CNI_COMMAND", "VERSION"}},
              R"({"cniVersion":"1.0.0"})");
  const auto ended = child.finish();
  EXPECT_EQ(ended.status, 0);
  EXPECT_NE(ended.output.find("supportedVersions"), std::string::npos) << ended.output;
}

}  // namespace
}  // namespace heddle::cni::test
