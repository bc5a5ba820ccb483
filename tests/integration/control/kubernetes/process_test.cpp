// SPDX-License-Identifier: Apache-2.0
// The real heddle-control with --source kubernetes, asked over gRPC.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "client.h"
#include "process.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::test {
namespace {

using ::testing::HasSubstr;

std::string slice(const std::string& address) {
  return R"({"metadata":{"name":"web-1","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},)"
         R"("addressType":"IPv4","endpoints":[{"addresses":[")" +
         address + R"("],"targetRef":{"kind":"Pod","name":"web-a"}}],"ports":[{"name":"http","port":8080}]})";
}

class ControlOfACluster : public ::testing::Test {
 protected:
  ControlOfACluster() {
    ::signal(SIGPIPE, SIG_IGN);
    folder_.put("ca.crt", authority_.root_pem());
    folder_.put(
        "config",
        "{current-context: none, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
            std::to_string(api_.port()) +
            "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, user: "
            "{token: secret}}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
    api_.require_token("secret");
    api_.put(ScriptedApi::namespaces, "shop",
             R"({"metadata":{"name":"shop","annotations":{"linkerd.io/inject":"enabled"}}})");
    api_.put(ScriptedApi::services, "web",
             R"({"metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.10",)"
             R"("ports":[{"name":"http","port":80}]}})");
    api_.put(ScriptedApi::pods, "web-a",
             R"({"metadata":{"name":"web-a","namespace":"shop"},"spec":{"nodeName":"n1"},)"
             R"("status":{"podIP":"10.1.0.1"}})");
    api_.put(ScriptedApi::slices, "web-1", slice("10.1.0.1"));
  }
  std::vector<std::string> flags() const {
    return {"--source=kubernetes", "--kubeconfig=" + folder_.file("config"), "--context=c"};
  }

  Authority authority_;
  ScriptedApi api_{authority_};
  ScratchFolder folder_;
};

TEST_F(ControlOfACluster, ServesItsEndpointsAlsoWhileTheApiServerIsAway) {
  ControlProcess control(flags());
  control.start();
  const Channel channel(control.destination_address(), control.state("trust-anchors.pem"));
  GetClient stream(channel, "web.shop.svc.cluster.local:80");
  auto update = stream.next();
  ASSERT_TRUE(update) << stream.finish().message;
  ASSERT_EQ(update->add().addrs_size(), 1);
  EXPECT_EQ(update->add().addrs(0).addr().ip().ipv4(), 0x0a010001U);
  EXPECT_EQ(update->add().addrs(0).tls_identity().dns_like_identity().name(),
            "default.shop.serviceaccount.identity.heddle.cluster.local");
  ASSERT_TRUE(test::eventually([&] { return control.metric("heddle_control_source_connected") == 1; }));
  EXPECT_EQ(control.metric("heddle_control_source_synced"), 1);

  api_.put(ScriptedApi::slices, "web-1", slice("10.1.0.2"));
  update = stream.next();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->remove().addrs(0).ip().ipv4(), 0x0a010001U);
  update = stream.next();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->add().addrs(0).addr().ip().ipv4(), 0x0a010002U);

  api_.stop();
  ASSERT_TRUE(test::eventually([&] { return control.metric("heddle_control_source_connected") == 0; }));
  EXPECT_TRUE(control.ready());
  EXPECT_GE(control.metric("heddle_control_source_last_event_age_seconds"), 0);
  GetClient other(channel, "web.shop.svc.cluster.local:80");
  update = other.next();
  ASSERT_TRUE(update) << other.finish().message;
  EXPECT_EQ(update->add().addrs(0).addr().ip().ipv4(), 0x0a010002U);

  api_.put(ScriptedApi::slices, "web-1", slice("10.1.0.3"));
  api_.start();
  update = other.next();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->remove().addrs(0).ip().ipv4(), 0x0a010002U);
  EXPECT_EQ(control.terminate(), 0);
}

TEST_F(ControlOfACluster, IsReadyOnlyOnceEverythingWasReadAndStopsBeforeWhenTold) {
  api_.stop();
  ControlProcess control(flags());
  control.launch();
  ASSERT_TRUE(test::eventually([&] { return control.admin("/live") == "live\n"; }));
  ASSERT_TRUE(test::eventually([&] { return control.metric("heddle_control_source_errors_total") >= 5; }));
  EXPECT_FALSE(control.ready());
  EXPECT_EQ(control.metric("heddle_control_source_synced"), 0);
  api_.start();
  EXPECT_TRUE(test::eventually([&] { return control.ready(); }));
  EXPECT_EQ(control.terminate(), 0);

  api_.stop();
  control.launch();
  ASSERT_TRUE(test::eventually([&] { return control.metric("heddle_control_source_errors_total") >= 1; }));
  EXPECT_EQ(control.terminate(), 0);
}

TEST_F(ControlOfACluster, FindsTheKubeconfigOfTheEnvironment) {
  ASSERT_EQ(::setenv("KUBECONFIG", (folder_.file("missing") + ":" + folder_.file("config")).c_str(), 1), 0);
  {
    ControlProcess control({"--source=kubernetes", "--context=c"});
    control.start();
  }
  const RunResult wrong = run_control({"--source=kubernetes", "--state-dir=" + folder_.file("state")});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.output, HasSubstr("no context 'none', only: c"));
  ASSERT_EQ(::unsetenv("KUBECONFIG"), 0);
  const RunResult nowhere = run_control({"--source=kubernetes", "--state-dir=" + folder_.file("state")});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.output, HasSubstr("--kubeconfig"));
}

}  // namespace
}  // namespace heddle::test
