// SPDX-License-Identifier: Apache-2.0
#include "agent/cni/policy_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/io/file.h"

namespace heddle::agent {
namespace {

// A source of which the test says what it knows.
struct KnownNamespaces final : PodDirectory {
  std::optional<std::vector<NamespaceFacts>> known;

  Result<> start(std::function<void()>) override { return {}; }
  std::optional<SourcePod> find(std::string_view, std::string_view, std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<NamespaceFacts>> namespaces() const override { return known; }
  bool enabled() const override { return true; }
};

NamespaceFacts ns(const std::string& name, const std::string& inject) {
  NamespaceFacts out{name, {}};
  if (!inject.empty()) out.annotations["linkerd.io/inject"] = inject;
  return out;
}

class PolicyFileTest : public testing::Test {
 protected:
  PolicyFileTest() {
    std::string pattern = testing::TempDir() + "/heddle-policy-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~PolicyFileTest() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/cni-policy.json"; }
  std::string text() const { return read_file(path()).value(); }

  std::string folder_;
};

// Byte for byte what the plugin's own test reads (tests/unit/cni/policy_test.cpp).
TEST(EncodePolicy, SaysWhatThePluginReads) {
  NodeFacts node;
  node.control_namespace = "mesh";
  node.excluded_namespaces = {"kube-system", "storage"};
  EXPECT_EQ(encode_policy(node, {ns("plain", ""), ns("shop", "enabled")}, true),
            R"({"version":1,"controlNamespace":"mesh","excludedNamespaces":["kube-system","storage"],)"
            R"("otherNamespaces":true,"namespaces":{"plain":false,"shop":true}})"
            "\n");
}

TEST(EncodePolicy, NeverPromisesThatAPodIsNotMeshedWhichWouldBe) {
  NodeFacts node;
  const std::vector<NamespaceFacts> all{ns("a", "enabled"), ns("b", "ingress"), ns("c", "disabled"),
                                        ns("d", "nonsense"), ns("e", "")};
  EXPECT_NE(encode_policy(node, all, true)
                .find(R"("namespaces":{"a":true,"b":true,"c":false,"d":false,"e":false})"),
            std::string::npos);
  EXPECT_NE(encode_policy(node, {}, false).find(R"("otherNamespaces":false)"), std::string::npos);
  // A pod that the source does not know yet is meshed by default: nobody's silence is safe.
  node.inject_unknown_pods = true;
  const auto eager = encode_policy(node, all, false);
  EXPECT_EQ(eager.find("false"), std::string::npos) << eager;
}

TEST(EncodePolicy, LeavesOutWhatThePluginWouldRefuseToRead) {
  std::vector<NamespaceFacts> many;
  for (int i = 0; i < 70'000; ++i) many.push_back(ns(std::string(58, 'n') + std::to_string(i), ""));
  const auto text = encode_policy({}, many, true);
  EXPECT_LE(text.size(), max_policy_bytes);
  EXPECT_GT(text.size(), max_policy_bytes / 2);
  EXPECT_NE(text.find(R"("otherNamespaces":true)"), std::string::npos);
}

TEST_F(PolicyFileTest, KeepsTheLastWordUntilTheSourceHasReadEverything) {
  ASSERT_TRUE(write_file_atomically(path(), "of the agent before", 0600));
  KnownNamespaces directory;
  PolicyFile file(path(), {});
  file.update(directory);
  EXPECT_EQ(text(), "of the agent before");
  directory.known = {ns("shop", "enabled")};
  file.update(directory);
  EXPECT_NE(text().find(R"("shop":true)"), std::string::npos) << text();
  struct stat info{};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(PolicyFileTest, IsWrittenWhenSomethingChangedAndOnlyThen) {
  KnownNamespaces directory;
  directory.known = {ns("shop", "")};
  PolicyFile file(path(), {});
  file.update(directory);
  const auto inode = [&] {
    struct stat info{};
    return ::stat(path().c_str(), &info) == 0 ? info.st_ino : 0;
  };
  const auto first = inode();
  file.update(directory);
  EXPECT_EQ(inode(), first);
  directory.known = {ns("shop", "enabled")};
  file.update(directory);
  EXPECT_NE(text().find(R"("shop":true)"), std::string::npos) << text();
}

TEST_F(PolicyFileTest, TriesAgainAfterAFailure) {
  KnownNamespaces directory;
  directory.known = {ns("shop", "")};
  PolicyFile file(folder_ + "/absent/cni-policy.json", {});
  file.update(directory);
  std::filesystem::create_directory(folder_ + "/absent");
  file.update(directory);
  EXPECT_TRUE(read_file(folder_ + "/absent/cni-policy.json"));
}

}  // namespace
}  // namespace heddle::agent
