// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/exec_credential.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string v1 = "client.authentication.k8s.io/v1";

Result<ExecPlugin> plugin_of(const std::string& yaml) {
  const auto documents = read_yaml(yaml);
  return exec_plugin_of(documents->front(), "/etc/kube");
}

Result<ExecCredential> credential_of(const std::string& status, const std::string& version = v1) {
  return parse_exec_credential(
      R"({"kind":"ExecCredential","apiVersion":")" + version + R"(","status":)" + status + "}", v1);
}

TEST(ExecCredential, ReadsWhatAKubeconfigSaysOfAProgram) {
  const auto plugin = plugin_of(
      "{apiVersion: client.authentication.k8s.io/v1beta1, command: aws, args: [eks, get-token], "
      "env: [{name: AWS_PROFILE, value: dev}], installHint: install it, provideClusterInfo: true, "
      "interactiveMode: IfAvailable, later: 1}");
  ASSERT_TRUE(plugin) << plugin.error().message();
  EXPECT_EQ(plugin->command, "aws") << "looked for in PATH";
  EXPECT_THAT(plugin->arguments, ElementsAre("eks", "get-token"));
  EXPECT_THAT(plugin->environment, ElementsAre(std::pair<std::string, std::string>("AWS_PROFILE", "dev")));
  EXPECT_EQ(plugin->install_hint, "install it");
  EXPECT_TRUE(plugin->wants_cluster);
  EXPECT_EQ(plugin_of("{apiVersion: " + v1 + ", command: bin/x}")->command, "/etc/kube/bin/x");
  EXPECT_EQ(plugin_of("{apiVersion: " + v1 + ", command: /bin/x}")->command, "/bin/x");
}

TEST(ExecCredential, RefusesProgramsThatItCannotUse) {
  EXPECT_EQ(plugin_of("{apiVersion: client.authentication.k8s.io/v1alpha1, command: x}").error().code,
            Errc::unsupported);
  EXPECT_EQ(plugin_of("{apiVersion: " + v1 + ", command: x, interactiveMode: Always}").error().code,
            Errc::unsupported);
  for (const char* wrong : {"interactiveMode: Sometimes", "args: 3", "args: [[a]]", "env: [3]"}) {
    EXPECT_FALSE(plugin_of("{apiVersion: " + v1 + ", command: x, " + wrong + "}")) << wrong;
  }
  EXPECT_FALSE(plugin_of("{apiVersion: " + v1 + ", command: [x]}"));
  EXPECT_THAT(plugin_of("{apiVersion: " + v1 + "}").error().message(), HasSubstr("no command"));
}

TEST(ExecCredential, ReadsTokensCertificatesAndWhenTheyExpire) {
  const auto token = credential_of(R"({"token":"abc","expirationTimestamp":"2026-11-28T05:00:00Z"})");
  ASSERT_TRUE(token) << token.error().message();
  EXPECT_EQ(token->token, "abc");
  EXPECT_EQ(token->expires, std::chrono::system_clock::from_time_t(1795842000));
  const auto pair = credential_of(R"({"clientCertificateData":"C","clientKeyData":"K"})");
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->certificate, "C");
  EXPECT_EQ(pair->key, "K");
  EXPECT_FALSE(pair->expires);
}

TEST(ExecCredential, RefusesWhatIsNoCredentialAndRepeatsNoSecret) {
  for (const char* status :
       {"{}", "null", "3", R"({"token":""})", R"({"clientCertificateData":"C"})",
        R"({"clientKeyData":"secret"})", R"({"token":"secret\r\nHost: evil"})",
        R"({"token":"secret","expirationTimestamp":"soon"})", R"({"token":["secret"]})"}) {
    const auto refused = credential_of(status);
    ASSERT_FALSE(refused) << status;
    EXPECT_THAT(refused.error().message(), ::testing::Not(HasSubstr("secret"))) << status;
  }
  EXPECT_THAT(credential_of(R"({"token":"t"})", "client.authentication.k8s.io/v1beta1").error().message(),
              HasSubstr("v1beta1"));
  for (const char* output : {"", "secret", "[]", "{}", "{} {}", R"({"kind":"Status"})"}) {
    EXPECT_FALSE(parse_exec_credential(output, v1)) << output;
  }
}

TEST(ExecCredential, ReadsTimesAsTheyAreWritten) {
  const auto seconds_of = [](std::string_view text) -> std::optional<std::int64_t> {
    const auto time = parse_time(text);
    if (!time) return std::nullopt;
    return std::chrono::duration_cast<seconds>(time->time_since_epoch()).count();
  };
  EXPECT_EQ(seconds_of("1970-01-01T00:00:10Z"), 10);
  EXPECT_EQ(seconds_of("1970-01-01T00:00:10.987654321Z"), 10);
  EXPECT_EQ(seconds_of("1970-01-01T02:00:10+02:00"), 10);
  EXPECT_EQ(seconds_of("1969-12-31T23:30:10-00:30"), 10);
  EXPECT_TRUE(seconds_of("9999-12-31T23:59:59Z")) << "never";
  EXPECT_LT(*parse_time("0001-01-01T00:00:00Z"), std::chrono::system_clock::time_point());
  for (const char* wrong :
       {"", "1970-01-01", "1970-01-01T00:00:10", "1970-13-01T00:00:10Z", "1970-02-30T00:00:10Z",
        "1970-01-01T24:00:10Z", "1970-01-01 00:00:10Z", "1970-01-01T00:00:10.Z", "1970-01-01T00:00:10+0200",
        "1970-01-01T00:00:-1Z", "1970-01-01T00:00:10Zx"}) {
    EXPECT_FALSE(parse_time(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace heddle::source::kubernetes
