// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/io/file.h"
#include "tools/lab/cni_chain.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

const json::object network = json::parse(R"({"cniVersion":"1.0.0","name":"net","plugins":[
  {"type":"first","key":1},
  {"type":"second","capabilities":{"portMappings":true,"bandwidth":false}}]})")
                                 .as_object();

TEST(CniConfig, PutsNameVersionAndPreviousResultIntoThePluginsConfig) {
  const auto config = cni_plugin_config(network, 0, json::parse(R"({"ips":[]})"), {});
  EXPECT_EQ(config.at("name").as_string(), "net");
  EXPECT_EQ(config.at("cniVersion").as_string(), "1.0.0");
  EXPECT_EQ(config.at("key").as_int64(), 1);
  EXPECT_TRUE(config.contains("prevResult"));
  EXPECT_FALSE(cni_plugin_config(network, 0, nullptr, {}).contains("prevResult"));
}

TEST(CniConfig, PassesOnlyCapabilitiesThatThePluginAsksFor) {
  const json::object capabilities{{"portMappings", json::array{1}}, {"bandwidth", 2}, {"other", 3}};
  EXPECT_FALSE(cni_plugin_config(network, 0, nullptr, capabilities).contains("runtimeConfig"));
  const auto config = cni_plugin_config(network, 1, nullptr, capabilities);
  ASSERT_TRUE(config.contains("runtimeConfig"));
  EXPECT_EQ(config.at("runtimeConfig").as_object().size(), 1u);
  EXPECT_TRUE(config.at("runtimeConfig").as_object().contains("portMappings"));
  EXPECT_FALSE(config.contains("capabilities"));
}

TEST(CniConfig, ListsAddressesIpv4First) {
  EXPECT_THAT(cni_result_ips(json::parse(R"({"ips":[{"address":"fd00::2/64"},{"address":"10.1.0.2/24"}]})")),
              ElementsAre("10.1.0.2", "fd00::2"));
  EXPECT_THAT(cni_result_ips(json::parse("[]")), ElementsAre());
}

TEST(CniConfig, ReadsAPluginsErrorOrShowsWhatItPrintedInstead) {
  EXPECT_EQ(cni_error_text(R"({"code":11,"msg":"agent away","details":"wait"})"),
            "agent away (code 11): wait");
  EXPECT_EQ(cni_error_text("panic: x"), "panic: x");
}

// Plugins that append what they were asked to a file.
class CniChain : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/heddle-cni-chain-XXXXXX";
    folder_ = ::mkdtemp(path);
    runtime_.bin_folders = {folder_};
    runtime_.cache_folder = folder_ + "/cache";
    attachment_.container_id = "c1";
    attachment_.netns = "/run/netns/none";
    plugin("first", R"(echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}')");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void plugin(const std::string& name, const std::string& body) {
    const auto script = "#!/bin/sh\ninput=$(cat)\necho \"" + name +
                        " $CNI_COMMAND $CNI_CONTAINERID $input\" >> " + folder_ + "/log\n" + body + "\n";
    ASSERT_TRUE(write_file_atomically(folder_ + "/" + name, script, 0755));
  }
  std::vector<std::string> calls() {
    std::vector<std::string> out;
    auto log = read_file(folder_ + "/log");
    for (std::size_t at = 0; log && at < log->size(); at = log->find('\n', at) + 1) {
      out.push_back(log->substr(at, log->find(" c1", at) - at));
    }
    return out;
  }

  std::string folder_;
  CniRuntime runtime_;
  CniAttachment attachment_;
};

TEST_F(CniChain, AddsInOrderHandingTheResultOnAndDeletesInReverse) {
  plugin("second", "[ \"$CNI_COMMAND\" != ADD ] || echo \"$input\" | sed 's/.*\"prevResult\"://; s/}$//'");
  auto result = cni_add(runtime_, network, attachment_);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_THAT(cni_result_ips(*result), ElementsAre("10.0.0.2"));
  auto deleted = cni_del(runtime_, network, attachment_);
  ASSERT_TRUE(deleted) << deleted.error().message();
  EXPECT_THAT(calls(), ElementsAre("first ADD", "second ADD", "second DEL", "first DEL"));
  // DEL got the result that ADD had ended with.
  EXPECT_THAT(*read_file(folder_ + "/log"),
              HasSubstr("second DEL c1 {\"type\":\"second\",\"name\":\"net\",\"cniVersion\":"
                        "\"1.0.0\",\"prevResult\":{\"cniVersion\":\"1.0.0\",\"ips\""));
}

TEST_F(CniChain, UndoesEverythingWhenAPluginFails) {
  plugin("second", R"([ "$CNI_COMMAND" != ADD ] || { echo '{"code":11,"msg":"try again later"}'; exit 1; })");
  CniFailure failure;
  auto result = cni_add(runtime_, network, attachment_, &failure);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("second ADD failed: try again later (code 11)"));
  EXPECT_EQ(failure.plugin, "second");
  EXPECT_EQ(failure.code, 11);
  EXPECT_THAT(calls(), ElementsAre("first ADD", "second ADD", "second DEL", "first DEL"));
}

TEST_F(CniChain, NamesTheFoldersAMissingPluginWasLookedForIn) {
  auto result = cni_add(runtime_, network, attachment_);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("CNI plugin second is in none of " + folder_));
}

}  // namespace
}  // namespace heddle::tools
