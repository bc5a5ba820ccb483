// SPDX-License-Identifier: Apache-2.0
// The real heddle-control with its webhook, asked by curl as an API server would, and what it does to nodes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <thread>

#include "base/fd.h"
#include "control/injector/certificate.h"
#include "control/source/base64.h"
#include "process.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::test {
namespace {

using control::WebhookCertificate;
using source::from_base64;
using source::to_base64;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace json = boost::json;

constexpr const char* secrets_path = "/api/v1/namespaces/heddle/secrets";
constexpr const char* secret_path = "/api/v1/namespaces/heddle/secrets/heddle-injector-tls";
constexpr const char* configuration_path =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/heddle-injector";
constexpr const char* server_name = "heddle-injector.heddle.svc";

WebhookCertificate certificate(std::chrono::hours age, const std::string& earlier = {}) {
  auto made = control::make_webhook_certificate(server_name, earlier, std::chrono::system_clock::now() - age);
  EXPECT_TRUE(made);
  return made ? std::move(*made) : WebhookCertificate();
}

std::string secret(const WebhookCertificate& of) {
  return json::serialize(json::object{{"metadata", {{"resourceVersion", "7"}}},
                                      {"data",
                                       {{"tls.crt", source::to_base64(of.certificate)},
                                        {"tls.key", source::to_base64(of.key)},
                                        {"ca.crt", source::to_base64(of.authorities)}}}});
}

std::string configuration(const std::string& authorities) {
  return json::serialize(json::object{
      {"metadata", {{"resourceVersion", "9"}}},
      {"webhooks",
       json::array{{{"name", "x"}, {"clientConfig", {{"caBundle", source::to_base64(authorities)}}}}}}});
}

class InjectorOfACluster : public ::testing::Test {
 protected:
  InjectorOfACluster() {
    ::signal(SIGPIPE, SIG_IGN);
    folder_.put("ca.crt", authority_.root_pem());
    folder_.put(
        "config",
        "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
            std::to_string(api_.port()) +
            "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, user: "
            "{token: secret}}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
    api_.put(ScriptedApi::namespaces, "rec",
             R"({"metadata":{"name":"rec","annotations":{"linkerd.io/inject":"enabled"}}})");
  }

  // An address of its own, so that nobody else can have taken the port.
  static std::string address() {
    const auto pid = static_cast<unsigned>(::getpid());
    return "127." + std::to_string(64 + (pid >> 16U) % 64) + "." + std::to_string((pid >> 8U) % 256) + "." +
           std::to_string(1 + pid % 254);
  }
  std::vector<std::string> flags() const {
    return {"--source=kubernetes", "--kubeconfig=" + folder_.file("config"),
            "--webhook-address=" + address() + ":8443"};
  }
  void answer(const std::string& part, const std::string& status, const std::string& body) {
    api_.answer_next(part, {status, "", body});
  }
  // Everything is as it should be.
  void install(const WebhookCertificate& shown) {
    api_.keep(secret_path, secret(shown));
    api_.keep(configuration_path, configuration(shown.authorities));
    folder_.put("webhook.crt", shown.authorities);
  }
  std::string curl(const std::string& arguments) const {
    const std::string command = "curl -sS --max-time 20 --cacert " + folder_.file("webhook.crt") +
                                " --resolve " + server_name + ":8443:" + address() + " " + arguments +
                                " 2>&1";
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "r");
    char piece[4096];
    for (std::size_t got = 0; (got = ::fread(piece, 1, sizeof piece, pipe)) > 0;) out.append(piece, got);
    ::pclose(pipe);
    return out;
  }
  static std::string url(const std::string& path) {
    return std::string("https://") + server_name + ":8443" + path;
  }
  std::string mutate(const std::string& review) const {
    return curl("-H 'Content-Type: application/json' --data-binary @" + std::string(REVIEWS) + "/" + review +
                ".json " + url("/mutate?timeout=5s"));
  }
  Fd connect() const {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(8443);
    ::inet_pton(AF_INET, address().c_str(), &to.sin_addr);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return fd;
  }
  bool serves() {
    return test::eventually([&] { return curl(url("/healthz")) == "ok\n"; });
  }

  Authority authority_;
  ScriptedApi api_{authority_};
  ScratchFolder folder_;
};

TEST_F(InjectorOfACluster, MarksThePodsThatAnApiServerAsksAbout) {
  install(certificate(std::chrono::hours(1)));
  ControlProcess control(flags());
  control.start();
  ASSERT_TRUE(serves());
  const auto review = json::parse(mutate("pod_of_replica_set")).as_object();
  EXPECT_EQ(review.at("response").at("allowed"), true);
  const auto patch = source::from_base64(review.at("response").at("patch").as_string());
  ASSERT_TRUE(patch);
  EXPECT_THAT(*patch, HasSubstr(R"("path":"/metadata/annotations/heddle.io~1mode","value":"node")"));
  EXPECT_FALSE(json::parse(mutate("deployment")).at("response").as_object().contains("patch"));
  EXPECT_EQ(control.metric(R"(heddle_control_injector_requests_total{outcome="node"})"), 1);
  EXPECT_EQ(control.metric(R"(heddle_control_injector_requests_total{outcome="not_a_pod"})"), 1);
  EXPECT_EQ(control.metric("heddle_control_injector_duration_seconds_count"), 2);
  EXPECT_GT(control.metric("heddle_control_injector_certificate_expiration_timestamp_seconds"), 0);
  EXPECT_EQ(control.terminate(), 0);
}

TEST_F(InjectorOfACluster, RefusesWhatIsNoReviewAndGoesOn) {
  install(certificate(std::chrono::hours(1)));
  ControlProcess control(flags());
  control.start();
  ASSERT_TRUE(serves());
  const std::string status = "-o /dev/null -w '%{http_code}' ";
  EXPECT_EQ(curl(status + "-d '{}' " + url("/mutate")), "400");
  EXPECT_EQ(curl(status + url("/mutate")), "405");
  EXPECT_EQ(curl(status + url("/else")), "404");
  folder_.put("huge", std::string(4 * 1024 * 1024, ' '));
  EXPECT_EQ(curl(status + "-H 'Expect:' --data-binary @" + folder_.file("huge") + " " + url("/mutate")),
            "413");
  EXPECT_EQ(curl(status + "--tls-max 1.1 " + url("/healthz")).substr(0, 4), "curl");
  const Fd garbage = connect();
  ASSERT_EQ(::write(garbage.get(), "GET / HTTP/1.1\r\n\r\n", 18), 18);
  EXPECT_TRUE(test::eventually(
      [&] { return control.metric("heddle_control_injector_handshakes_failed_total") >= 2; }));
  EXPECT_EQ(control.metric("heddle_control_injector_bad_requests_total"), 4);
  EXPECT_EQ(curl(url("/healthz")), "ok\n");
}

TEST_F(InjectorOfACluster, TurnsConnectionsAwayBeyondItsLimitAndEndsSilentOnes) {
  install(certificate(std::chrono::hours(1)));
  ControlProcess control(flags());
  control.start();
  ASSERT_TRUE(serves());
  std::vector<Fd> silent;
  for (int i = 0; i < 200; ++i) silent.push_back(connect());
  EXPECT_TRUE(test::eventually(
      [&] { return control.metric("heddle_control_injector_connections_refused_total") >= 72; }));
  EXPECT_TRUE(test::eventually([&] { return control.metric("heddle_control_injector_connections") == 0; }));
  EXPECT_EQ(curl(url("/healthz")), "ok\n");
}

TEST_F(InjectorOfACluster, MakesTheSecretWhereThereIsNone) {
  ControlProcess control(flags());
  control.start();
  const std::string create = "POST /api/v1/namespaces/heddle/secrets";
  ASSERT_TRUE(test::eventually([&] { return !api_.bodies(create).empty(); }));
  const auto made = json::parse(api_.bodies(create).front());
  EXPECT_EQ(made.at("type"), "kubernetes.io/tls");
  EXPECT_EQ(made.at("metadata").at("name"), "heddle-injector-tls");
  const auto text = [&](const char* key) {
    return source::from_base64(made.at("data").at(key).as_string()).value_or("");
  };
  EXPECT_TRUE(control::check_webhook_certificate({text("tls.crt"), text("tls.key"), text("ca.crt")}));
}

TEST_F(InjectorOfACluster, UsesTheSecretThatAnotherReplicaWasFasterToMake) {
  const auto theirs = certificate(std::chrono::hours(1));
  answer(secrets_path, "404 Not Found", "{}");
  answer(secrets_path, "409 Conflict", "{}");
  install(theirs);
  ControlProcess control(flags());
  control.start();
  EXPECT_TRUE(serves());
  EXPECT_EQ(control.metric("heddle_control_injector_certificates_made_total"), 0);
}

TEST_F(InjectorOfACluster, TellsApiServersWhatToVerifyItWith) {
  const auto shown = certificate(std::chrono::hours(1));
  api_.keep(secret_path, secret(shown));
  api_.keep(configuration_path, configuration("another"));
  ControlProcess control(flags());
  control.start();
  const std::string patch = std::string("PATCH ") + configuration_path;
  ASSERT_TRUE(test::eventually([&] { return !api_.bodies(patch).empty(); }));
  EXPECT_EQ(json::parse(api_.bodies(patch).front()),
            json::value(json::array{{{"op", "test"}, {"path", "/metadata/resourceVersion"}, {"value", "9"}},
                                    {{"op", "add"},
                                     {"path", "/webhooks/0/clientConfig/caBundle"},
                                     {"value", source::to_base64(shown.authorities)}}}));
}

TEST_F(InjectorOfACluster, RenewsACertificateThatIsDueAndKeepsItsAuthority) {
  const auto old = certificate(std::chrono::hours(24 * 300));
  api_.keep(secret_path, secret(old));
  ControlProcess control(flags());
  control.start();
  const std::string patch = std::string("PATCH ") + secret_path;
  ASSERT_TRUE(test::eventually([&] { return !api_.bodies(patch).empty(); }));
  const auto operations = json::parse(api_.bodies(patch).front()).as_array();
  EXPECT_EQ(operations.at(0).at("value"), "7");
  const auto authorities = source::from_base64(operations.at(1).at("value").at("ca.crt").as_string());
  ASSERT_TRUE(authorities);
  EXPECT_THAT(*authorities, HasSubstr(old.authorities));
}

TEST_F(InjectorOfACluster, ShowsAGivenSecretAndLeavesCaBundleToItsIssuer) {
  const auto given = certificate(std::chrono::hours(24 * 300));
  folder_.put("webhook.crt", given.authorities);
  api_.keep(std::string(secrets_path) + "/mine", secret(given));
  auto with = flags();
  with.emplace_back("--webhook-tls-secret=mine");
  ControlProcess control(with);
  control.start();
  EXPECT_TRUE(serves());
  EXPECT_EQ(api_.requests("mutatingwebhookconfigurations"), 0U);
  EXPECT_EQ(api_.requests("heddle-injector-tls"), 0U);
}

// Twice, so that it is not the look every 30 s that finds it.
TEST_F(InjectorOfACluster, ShowsAReplacedSecretAsSoonAsTheApiServerTellsOfIt) {
  const std::string path = std::string(secrets_path) + "/mine";
  api_.keep(path, secret(certificate(std::chrono::hours(1))));
  auto with = flags();
  with.emplace_back("--webhook-tls-secret=mine");
  ControlProcess control(with);
  control.start();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) {
    const auto next = certificate(std::chrono::hours(1));
    folder_.put("webhook.crt", next.authorities);
    api_.keep(path, secret(next));
    EXPECT_TRUE(serves());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST_F(InjectorOfACluster, PutsCaBundleRightAsSoonAsSomebodyElseChangesIt) {
  const auto shown = certificate(std::chrono::hours(1));
  install(shown);
  ControlProcess control(flags());
  control.start();
  ASSERT_TRUE(serves());
  const std::string patch = std::string("PATCH ") + configuration_path;
  ASSERT_TRUE(
      test::eventually([&] { return api_.requests("fieldSelector=metadata.name%3Dheddle-injector&") == 1; }));
  api_.keep(configuration_path, configuration("another"));
  EXPECT_TRUE(test::eventually([&] { return !api_.bodies(patch).empty(); }));
}

TEST_F(InjectorOfACluster, FreesANodeWhoseAgentIsReadyAndTriesAgainAfterAConflict) {
  const std::string node =
      R"({"metadata":{"name":"n1"},"spec":{"taints":[{"key":"heddle.io/agent-not-ready","effect":"NoSchedule"}]}})";
  api_.put(ScriptedApi::nodes, "n1", node);
  answer("/api/v1/nodes/n1", "200 OK", node);
  answer("/api/v1/nodes/n1", "422 Unprocessable Entity", "{}");
  answer("/api/v1/nodes/n1", "200 OK", node);
  answer("/api/v1/nodes/n1", "200 OK", "{}");
  ControlProcess control({"--source=kubernetes", "--kubeconfig=" + folder_.file("config")});
  control.start();
  EXPECT_THAT(api_.bodies("PATCH /api/v1/nodes/n1"), IsEmpty());
  api_.put(ScriptedApi::pods, "agent",
           R"({"metadata":{"name":"agent","namespace":"heddle","ownerReferences":[{"kind":"DaemonSet",)"
           R"("name":"heddle-agent","controller":true}]},"spec":{"nodeName":"n1"},)"
           R"("status":{"conditions":[{"type":"Ready","status":"True"}]}})");
  ASSERT_TRUE(
      test::eventually([&] { return control.metric("heddle_control_startup_taints_removed_total") == 1; }));
  EXPECT_EQ(control.metric("heddle_control_startup_taint_conflicts_total"), 1);
  EXPECT_EQ(api_.bodies("PATCH /api/v1/nodes/n1").size(), 2U);
}

TEST_F(InjectorOfACluster, NeedsACluster) {
  const auto run = run_control({"--source=folder:" + folder_.path(), "--webhook-address=:8443",
                                "--state-dir=" + folder_.file("state")});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("--webhook-address needs --source kubernetes"));
}

}  // namespace
}  // namespace heddle::test
