// SPDX-License-Identifier: Apache-2.0
#include "cni/config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

std::string with(const std::string& more) {
  return R"({"cniVersion":"1.1.0","name":"net","type":"heddle-cni")" + (more.empty() ? "" : "," + more) + "}";
}

TEST(Config, HasDefaultsForItsOwnKeys) {
  const auto config = parse_config(with(""));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->run_dir, "/run/heddle");
  EXPECT_EQ(config->timeout, std::chrono::milliseconds(10'000));
  EXPECT_EQ(config->log_file, "");
  EXPECT_FALSE(config->prev_result);
  EXPECT_FALSE(config->valid_attachments);
}

TEST(Config, ReadsItsOwnKeysAndIgnoresUnknownOnes) {
  const auto config =
      parse_config(with(R"("runDir":"/r","logFile":"/l","timeoutMs":250,"ipMasq":true,"dns":{"x":1})"));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->run_dir, "/r");
  EXPECT_EQ(config->log_file, "/l");
  EXPECT_EQ(config->timeout, std::chrono::milliseconds(250));
}

TEST(Config, KeepsThePreviousResultByteByByte) {
  const std::string result =
      R"({ "z":1.0,  "ips":[{"version":"4","address":"10.0.0.5/24"},{"address":"fd00::5/64"}],
 "big":12345678901234567890123, "a":"\u0041" })";
  const auto config = parse_config(with("\"prevResult\": " + result + " "));
  ASSERT_TRUE(config);
  EXPECT_EQ(*config->prev_result, result);
  EXPECT_EQ(config->ips, (std::vector<std::string>{"10.0.0.5", "fd00::5"}));
}

TEST(Config, TakesOnlyTheMeshsAnnotations) {
  const auto config =
      parse_config(with(R"("runtimeConfig":{"portMappings":[],"io.kubernetes.cri.pod-annotations":{
    "linkerd.io/inject":"enabled","config.linkerd.io/opaque-ports":"3306","heddle.io/interception":"ebpf",
    "kubectl.kubernetes.io/last-applied-configuration":"secret","notlinkerd.io/x":"1","linkerd.io.evil.example/x":"1",
    "linkerd.io":"no slash","number.example/x":5}})"));
  ASSERT_TRUE(config) << config.error().msg;
  const std::map<std::string, std::string> expected{{"linkerd.io/inject", "enabled"},
                                                    {"config.linkerd.io/opaque-ports", "3306"},
                                                    {"heddle.io/interception", "ebpf"}};
  EXPECT_EQ(config->pod_annotations, expected);
}

TEST(Config, ReadsTheAttachmentsThatGcMayNotTouch) {
  const auto config = parse_config(
      with(R"("cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"},{"containerID":"b"}])"));
  ASSERT_TRUE(config);
  EXPECT_EQ(*config->valid_attachments, (std::vector<Attachment>{{"a", "eth0"}, {"b", ""}}));
}

TEST(Config, RefusesMalformedInputWithTheSpecificationsCodes) {
  struct Row {
    std::string text;
    unsigned code;
  };
  const std::vector<Row> rows{
      {"", 6},
      {" \n\t", 6},
      {"{", 6},
      {"null", 6},
      {"[]", 6},
      {"{}garbage", 6},
      {"{\"a\":1,}", 6},
      {std::string(2 * 1024 * 1024, ' '), 6},
      {"{\"prevResult\":" + std::string(200, '[') + std::string(200, ']') + "}", 6},
      {"{\"name\":\"\xff\xfe\"}", 6},
      {"{}", 1},
      {R"({"cniVersion":"0.1.0","name":"n"})", 1},
      {R"({"cniVersion":"0.3.0","name":"n"})", 1},
      {R"({"cniVersion":"2.0.0","name":"n"})", 1},
      {R"({"cniVersion":"","name":"n"})", 1},
      {R"({"cniVersion":1,"name":"n"})", 7},
      {R"({"cniVersion":"1.0.0"})", 7},
      {R"({"cniVersion":"1.0.0","name":""})", 7},
      {R"({"cniVersion":"1.0.0","name":"../x"})", 7},
      {R"({"cniVersion":"1.0.0","name":5})", 7},
      {with(R"("runDir":"relative")"), 7},
      {with(R"("runDir":"")"), 7},
      {with(R"("runDir":"/a\u0000b")"), 7},
      {with(R"("runDir":[])"), 7},
      {with(R"("logFile":"x")"), 7},
      {with(R"("timeoutMs":0)"), 7},
      {with(R"("timeoutMs":-5)"), 7},
      {with(R"("timeoutMs":1.5)"), 7},
      {with(R"("timeoutMs":"10")"), 7},
      {with(R"("timeoutMs":99999999999999)"), 7},
      {with(R"("prevResult":[])"), 7},
      {with(R"("prevResult":"x")"), 7},
      {with(R"("prevResult":{"ips":{}})"), 7},
      {with(R"("prevResult":{"ips":[1]})"), 7},
      {with(R"("prevResult":{"ips":[{"address":"10.0.0.300/24"}]})"), 7},
      {with(R"("prevResult":{"ips":[{"address":7}]})"), 7},
      {with(R"("runtimeConfig":[])"), 7},
      {with(R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":[]})"), 7},
      {with(R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"linkerd.io/inject":true}})"), 7},
      {with(R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"linkerd.io/x":")" +
            std::string(70'000, 'x') + "\"}}"),
       7},
      {with(R"("cni.dev/valid-attachments":{})"), 7},
      {with(R"("cni.dev/valid-attachments":[{"ifname":"eth0"}])"), 7},
      {with(R"("cni.dev/valid-attachments":[7])"), 7},
  };
  for (const Row& row : rows) {
    const auto config = parse_config(row.text);
    ASSERT_FALSE(config) << row.text.substr(0, 100);
    EXPECT_EQ(config.error().code, row.code) << row.text.substr(0, 100) << ": " << config.error().msg;
    EXPECT_FALSE(config.error().msg.empty());
    EXPECT_FALSE(config.error().details.empty()) << row.text.substr(0, 100);
  }
}

TEST(Config, OfADelIsNotRefusedForWhatADelDoesNotNeed) {
  for (const char* broken :
       {R"("prevResult":{"ips":[{"address":"nonsense"}]})", R"("prevResult":[])", R"("runtimeConfig":[])",
        R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"linkerd.io/inject":true}})",
        R"("cni.dev/valid-attachments":7)"}) {
    EXPECT_FALSE(parse_config(with(broken)));
    const auto config = parse_config(with(broken), Command::del);
    EXPECT_TRUE(config) << broken << ": the pod would stay Terminating";
  }
  EXPECT_FALSE(parse_config(with(R"("runDir":7)"), Command::del)) << "no agent to be found by that";
}

TEST(Config, AnswersInTheVersionThatWasAskedIn) {
  EXPECT_EQ(version_for_answer(R"({"cniVersion":"0.4.0"})"), "0.4.0");
  EXPECT_EQ(version_for_answer(R"({"cniVersion":"9.0.0"})"), "1.1.0");
  EXPECT_EQ(version_for_answer("{"), "1.1.0");
  EXPECT_EQ(version_for_answer(""), "1.1.0");
}

TEST(Config, TellsSilentAnnotationsFromNone) {
  const std::string head = R"({"cniVersion":"1.0.0","name":"n")";
  EXPECT_FALSE(parse_config(head + "}")->annotations_passed);
  EXPECT_FALSE(parse_config(head + R"(,"runtimeConfig":{}})")->annotations_passed);
  const auto silent =
      parse_config(head + R"(,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"a":"b"}}})");
  EXPECT_TRUE(silent->annotations_passed);
  EXPECT_TRUE(silent->pod_annotations.empty());
}

TEST(Config, RefusesNamespacesOfTheWrongKindExceptToADel) {
  for (const char* more :
       {R"("controlNamespace":1)", R"("excludedNamespaces":"kube-system")", R"("excludedNamespaces":[1])"}) {
    const std::string text = R"({"cniVersion":"1.0.0","name":"n",)" + std::string(more) + "}";
    const auto refused = parse_config(text);
    ASSERT_FALSE(refused) << more;
    EXPECT_EQ(refused.error().code, 7u);
    EXPECT_TRUE(parse_config(text, Command::del)) << more;
  }
}

}  // namespace
}  // namespace heddle::cni
