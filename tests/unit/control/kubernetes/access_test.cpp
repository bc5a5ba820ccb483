// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

using ::testing::HasSubstr;

// One cluster, user and context "c"; `cluster` and `user` are flow maps.
Result<Access> access_of(const std::string& cluster, const std::string& user, bool allow_insecure = false) {
  const auto config = Kubeconfig::parse(
      "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: " + cluster +
          "}], users: [{name: u, user: " + user +
          "}], contexts: [{name: c, context: {cluster: c, user: u}}]}",
      "/etc/kube");
  if (!config) return config.error();
  return config->access("", allow_insecure);
}

const std::string plain_cluster = "{server: 'https://10.0.0.1:6443', certificate-authority-data: QUJD}";

TEST(Kubeconfig, GivesServerAuthorityAndClientCertificate) {
  const auto access = access_of(
      "{server: 'https://api.example:6443/base/', certificate-authority: ca.crt, "
      "tls-server-name: kubernetes, later-field: [1]}",
      "{client-certificate-data: QUI=, client-key: /keys/k.pem}");
  ASSERT_TRUE(access) << access.error().message();
  EXPECT_EQ(access->host, "api.example");
  EXPECT_EQ(access->port, 6443);
  EXPECT_EQ(access->path_prefix, "/base");
  EXPECT_EQ(access->server_name, "kubernetes");
  EXPECT_EQ(access->authority.path, "/etc/kube/ca.crt");
  EXPECT_EQ(access->certificate.text, "AB");
  EXPECT_EQ(access->key.path, "/keys/k.pem");
  EXPECT_TRUE(access->token.empty());
  EXPECT_FALSE(access->skip_verification);
}

TEST(Kubeconfig, PrefersATokenFileToTheTokenThatWasCopied) {
  EXPECT_EQ(access_of(plain_cluster, "{token: abc}")->token.text, "abc");
  const auto access = access_of(plain_cluster, "{token: abc, tokenFile: token}");
  ASSERT_TRUE(access);
  EXPECT_EQ(access->token.text, "");
  EXPECT_EQ(access->token.path, "/etc/kube/token");
}

TEST(Kubeconfig, DecodesBase64AndRefusesWhatIsNone) {
  const auto decoded = [](const std::string& data) {
    return access_of("{server: 'https://h', certificate-authority-data: '" + data + "'}", "{token: t}");
  };
  EXPECT_EQ(decoded("QQ==")->authority.text, "A");
  EXPECT_EQ(decoded("QUJDRA")->authority.text, "ABCD");
  EXPECT_EQ(decoded("Q U\tI =")->authority.text, "AB");
  for (const char* wrong : {"Q", "QUJDR", "QU*D", "QQ==QQ", "===="}) {
    EXPECT_FALSE(decoded(wrong)) << wrong;
  }
}

TEST(Kubeconfig, SkipsVerificationOnlyIfTheOperatorAlsoSaysSo) {
  const std::string cluster = "{server: 'https://h', insecure-skip-tls-verify: true}";
  const auto refused = access_of(cluster, "{token: t}");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::permission_denied);
  EXPECT_THAT(refused.error().message(), HasSubstr("--insecure-skip-tls-verify"));
  EXPECT_TRUE(access_of(cluster, "{token: t}", true)->skip_verification);
  EXPECT_FALSE(access_of(plain_cluster, "{token: t}", true)->skip_verification)
      << "the file does not ask for it";
}

TEST(Kubeconfig, NamesWhatItCannotDo) {
  for (const std::string user : {"{exec: {command: aws}}", "{auth-provider: {name: gcp}}",
                                 "{username: u, password: p}", "{token: t, as: root}"}) {
    const auto refused = access_of(plain_cluster, user);
    ASSERT_FALSE(refused) << user;
    EXPECT_EQ(refused.error().code, Errc::unsupported) << user;
    EXPECT_THAT(refused.error().message(), HasSubstr("user 'u'"));
  }
  EXPECT_EQ(access_of("{server: 'https://h', proxy-url: 'http://p'}", "{}").error().code, Errc::unsupported);
}

TEST(Kubeconfig, RefusesHalfAClientCertificateAndTokensThatBreakHeaders) {
  EXPECT_THAT(access_of(plain_cluster, "{client-certificate: a.pem}").error().message(),
              HasSubstr("client-key"));
  EXPECT_FALSE(access_of(plain_cluster, R"({token: "a\r\nHost: evil"})"));
}

TEST(Kubeconfig, RefusesServersThatAreNotHttps) {
  for (const char* url : {"http://h", "h:443", "https://", "https://h:0", "https://h:70000", "https://h:x",
                          "https://[::1", "https://u@h", "https://h/?q", "https://h/a b", ""}) {
    EXPECT_FALSE(access_of_server(url)) << url;
  }
  const auto v6 = access_of_server("https://[fd00::1]:6443");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "fd00::1");
  EXPECT_EQ(v6->port, 6443);
}

TEST(Kubeconfig, ChoosesTheContextAskedForAndTellsWhichThereAre) {
  const auto config = Kubeconfig::parse(R"(
current-context: one
clusters: [{name: a, cluster: {server: 'https://a'}}, {name: b, cluster: {server: 'https://b'}}]
users: [{name: u, user: {token: t}}, {name: other, user: {exec: {command: x}}}]
contexts:
- {name: one, context: {cluster: a, user: u}}
- {name: two, context: {cluster: b}}
- {name: lost, context: {cluster: gone, user: u}}
- {name: nobody, context: {cluster: a, user: gone}}
)",
                                        "");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->access("", false)->host, "a");
  EXPECT_EQ(config->access("two", false)->host, "b");
  const auto missing = config->access("three", false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_THAT(missing.error().message(), HasSubstr("one, two, lost, nobody"));
  EXPECT_THAT(config->access("lost", false).error().message(), HasSubstr("'gone'"));
  EXPECT_THAT(config->access("nobody", false).error().message(), HasSubstr("'gone'"));
}

TEST(Kubeconfig, LetsTheFirstOfSeveralFilesWin) {
  auto first = Kubeconfig::parse("{clusters: [{name: c, cluster: {server: 'https://first'}}]}", "/1");
  auto second = Kubeconfig::parse(
      "{current-context: x, clusters: [{name: c, cluster: {server: 'https://second'}}], "
      "users: [{name: u, user: {tokenFile: t}}], contexts: [{name: x, context: {cluster: c, user: u}}]}",
      "/2");
  ASSERT_TRUE(first && second);
  first->merge(std::move(*second));
  const auto access = first->access("", false);
  ASSERT_TRUE(access) << access.error().message();
  EXPECT_EQ(access->host, "first");
  EXPECT_EQ(access->token.path, "/2/t") << "relative to the file that names it";
}

TEST(Kubeconfig, RefusesWhatIsNoKubeconfig) {
  EXPECT_FALSE(Kubeconfig::parse("[1]", ""));
  EXPECT_FALSE(Kubeconfig::parse("{clusters: 3}", ""));
  EXPECT_FALSE(Kubeconfig::parse("{clusters: [{cluster: {server: x}}]}", "")) << "no name";
  EXPECT_FALSE(Kubeconfig::parse("a: 1\n---\nb: 2\n", ""));
  EXPECT_FALSE(Kubeconfig::parse("{", ""));
  const auto empty = Kubeconfig::parse("", "");
  ASSERT_TRUE(empty);
  EXPECT_THAT(empty->access("", false).error().message(), HasSubstr("--context"));
}

TEST(InClusterAccess, NamesThePodsFiles) {
  const auto access = in_cluster_access("10.96.0.1", "443", "/var/run/x");
  ASSERT_TRUE(access);
  EXPECT_EQ(access->host, "10.96.0.1");
  EXPECT_EQ(access->server_name, "10.96.0.1");
  EXPECT_EQ(access->authority.path, "/var/run/x/ca.crt");
  EXPECT_EQ(access->token.path, "/var/run/x/token");
  EXPECT_EQ(in_cluster_access("fd00::1", "443", "")->host, "fd00::1");
  EXPECT_THAT(in_cluster_access("", "", "").error().message(), HasSubstr("--kubeconfig"));
}

}  // namespace
}  // namespace heddle::source::kubernetes
