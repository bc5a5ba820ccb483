// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/bundle.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "tools/diagnostics/facts.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

constexpr std::time_t noon = 1'700'000'000;

// Unpacked by tar(1).
class BundleTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/heddle-bundle-test-XXXXXX";
    folder_ = ::mkdtemp(path);
  }
  void TearDown() override { EXPECT_TRUE(run_checked(command({"rm", "-r", folder_}))); }

  static SpawnSpec command(std::vector<std::string> argv) {
    SpawnSpec spec;
    spec.argv = std::move(argv);
    return spec;
  }
  void unpack(const Bundle& bundle) {
    const auto archive = bundle.archive("bundle", noon);
    ASSERT_TRUE(archive) << archive.error().message();
    std::ofstream(folder_ + "/b.tar.gz", std::ios::binary) << *archive;
    const auto done = run_checked(command({"tar", "-xzvf", folder_ + "/b.tar.gz", "-C", folder_}));
    ASSERT_TRUE(done) << done.error().message();
    listed_ = *done;
  }
  std::string text(const std::string& path) const {
    std::ifstream in(folder_ + "/bundle/" + path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  json::object manifest() const { return json::parse(text("manifest.json")).as_object(); }

  std::string folder_;
  std::string listed_;
};

TEST_F(BundleTest, IsReadByTarAndListsItsFiles) {
  Bundle bundle;
  bundle.say("since", "1h");
  bundle.add_text("heddle/logs/a.log", "one\ntwo\n", "the log");
  bundle.add_text("empty.txt", "", "nothing");
  bundle.add_text("exact.txt", std::string(512, '.'), "a block");
  bundle.add_json("nodes/n1/state.json", json::object{{"a", 1}}, "GET /state");
  unpack(bundle);
  EXPECT_EQ(text("heddle/logs/a.log"), "one\ntwo\n");
  EXPECT_EQ(text("empty.txt"), "");
  EXPECT_EQ(text("exact.txt"), std::string(512, '.'));
  EXPECT_EQ(text("nodes/n1/state.json"), "{\n  \"a\": 1\n}\n");
  const auto told = manifest();
  EXPECT_EQ(told.at("since").as_string(), "1h");
  EXPECT_EQ(told.at("madeAt").as_string(), "2023-11-14T22:13:20Z");
  EXPECT_TRUE(told.at("complete").as_bool());
  EXPECT_EQ(json::serialize(told.at("files").as_array()[0]),
            R"({"path":"heddle/logs/a.log","bytes":8,"source":"the log"})");
}

TEST_F(BundleTest, SaysWhatIsMissing) {
  Bundle bundle;
  EXPECT_TRUE(bundle.complete());
  bundle.missing("node n2", "refused, password=hunter2");
  EXPECT_FALSE(bundle.complete());
  unpack(bundle);
  EXPECT_EQ(json::serialize(manifest().at("missing")),
            R"j([{"what":"node n2","why":"refused, password=<redacted>"}])j");
  EXPECT_FALSE(manifest().at("complete").as_bool());
}

TEST_F(BundleTest, CutsFilesAtTheirBoundOnWholeLines) {
  Bundle bundle({.file = 10, .all = 1000, .files = 10});
  bundle.add_text("end.log", "aaaa\nbbbb\ncccc\n", "log", true);
  bundle.add_text("begin.txt", "aaaa\nbbbb\ncccc\n", "text");
  bundle.add_text("line.txt", std::string(20, 'x'), "text");
  unpack(bundle);
  EXPECT_EQ(text("end.log"), "cccc\n");
  EXPECT_EQ(text("begin.txt"), "aaaa\nbbbb\n");
  EXPECT_EQ(text("line.txt"), std::string(10, 'x'));
  EXPECT_EQ(manifest().at("files").as_array()[0].at("cutFromBytes").as_int64(), 15);
}

TEST_F(BundleTest, ScrubsBeforeItCuts) {
  Bundle bundle({.file = 40, .all = 1000, .files = 10});
  bundle.add_text("a.log",
                  "-----BEGIN PRIVATE KEY-----\nhunter2\nhunter2\n-----END PRIVATE KEY-----\nthe end\n",
                  "log", true);
  bundle.add_json("a.json", json::object{{"api_token", "hunter2"}, {"text", "Bearer hunter2"}}, "state");
  unpack(bundle);
  EXPECT_EQ(text("a.log"), "<redacted>\nthe end\n");
  EXPECT_THAT(text("a.json"), Not(HasSubstr("hunter2")));
}

TEST_F(BundleTest, StaysWithinItsBounds) {
  Bundle bundle({.file = 10, .all = 25, .files = 10});
  for (const char* name : {"a", "b", "c"}) bundle.add_text(name, std::string(10, 'x'), "text");
  EXPECT_EQ(bundle.file_count(), 2U);
  EXPECT_EQ(bundle.missing_count(), 1U);
  Bundle few({.file = 10, .all = 1000, .files = 1});
  few.add_text("a", "", "");
  few.add_text("b", "", "");
  EXPECT_EQ(few.file_count(), 1U);
  EXPECT_FALSE(few.complete());
}

TEST_F(BundleTest, KeepsEveryFileInsideOfItsFolder) {
  Bundle bundle;
  bundle.add_text("../../etc/passwd", "x", "");
  bundle.add_text("/absolute", "x", "");
  bundle.add_text("heddle/logs/" + std::string(250, 'p') + "/" + std::string(63, 'c') + ".previous.log", "x",
                  "");
  unpack(bundle);
  EXPECT_EQ(text("_/_/etc/passwd"), "x");
  EXPECT_EQ(text("_/absolute"), "x");
  EXPECT_THAT(listed_, HasSubstr(std::string(63, 'c') + ".previous.log"));
}

TEST_F(BundleTest, TellsOfNetworkConfigurationsWithoutTheirTokens) {
  std::ofstream(folder_ + "/10-mesh.conflist")
      << R"({"name":"net","plugins":[{"type":"calico","k8s_auth_token":"hunter2"},{"type":"heddle-cni"}]})";
  std::ofstream(folder_ + "/20-broken.conf") << R"({"password":"hunter2")";
  std::ofstream(folder_ + "/README") << "not a configuration";
  const auto found = cni_configurations(folder_);
  ASSERT_EQ(found.size(), 2U);
  const auto spelled = json::serialize(found);
  EXPECT_THAT(spelled, HasSubstr("heddle-cni"));
  EXPECT_THAT(spelled, Not(HasSubstr("hunter2")));
  EXPECT_TRUE(cni_configurations(folder_ + "/nowhere").contains("error"));
}

TEST(MachineFacts, NameTheKernelAndTheCgroupMode) {
  const auto facts = machine_facts();
  EXPECT_NE(facts.at("kernel").at("release").as_string(), "");
  EXPECT_THAT(std::string(facts.at("cgroup").at("mode").as_string()), testing::AnyOf("v1", "v2", "hybrid"));
}

}  // namespace
}  // namespace heddle::tools
