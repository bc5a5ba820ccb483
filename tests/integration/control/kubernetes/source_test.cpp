// SPDX-License-Identifier: Apache-2.0
// The source of a cluster's objects against an API server that follows a script, over real TLS sockets.
#include "control/source/kubernetes/source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/io/file.h"
#include "scratch_folder.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::source {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ScriptedApi;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string pod(const std::string& name, const std::string& ip) {
  return R"({"metadata":{"name":")" + name +
         R"(","namespace":"shop","managedFields":[{"f":{}}]},"status":{"podIP":")" + ip + "\"}}";
}

// Over HTTP/2, and from a server that has HTTP/1.1 only.
enum class Http { two, one };

class KubernetesSource : public ::testing::TestWithParam<Http> {
 protected:
  bool h2() const { return GetParam() == Http::two; }
  KubernetesSource() {
    ::signal(SIGPIPE, SIG_IGN);
    options_.kubeconfig = folder_.file("config");
    options_.policy.backoff = {milliseconds(5), milliseconds(100), 0.5};
    folder_.put("ca.crt", authority_.root_pem());
    configure("{}");
  }
  void configure(const std::string& user, const std::string& server_name = "kubernetes",
                 const std::string& more = "certificate-authority: ca.crt") const {
    folder_.put("config", "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
                              std::to_string(api_.port()) + "', tls-server-name: " + server_name + ", " +
                              more + "}}], users: [{name: u, user: " + user +
                              "}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
  }
  void start() {
    auto made = make_kubernetes_source(options_);
    ASSERT_TRUE(made) << made.error().message();
    source_ = std::move(*made);
    ASSERT_TRUE(source_->start([this](const std::shared_ptr<const Snapshot>&) { ++announced_; }));
  }
  bool synced() const {
    return test::eventually([&] { return source_->status().synced; });
  }
  // Synced, and every watch is open: what comes now is an event.
  bool watching() const {
    return synced() && test::eventually([&] { return source_->status().connected; });
  }
  bool has(const std::string& name) const { return source_->current()->find_pod("shop", name) != nullptr; }
  bool gets(const std::string& name) const {
    return test::eventually([&] { return has(name); });
  }
  bool loses(const std::string& name) const {
    return test::eventually([&] { return !has(name); });
  }

  test::Authority authority_;
  ScriptedApi api_{authority_, h2()};
  test::ScratchFolder folder_;
  KubernetesOptions options_;
  std::atomic<int> announced_{0};
  std::unique_ptr<Source> source_;
};

TEST_P(KubernetesSource, ReadsEveryKindAndFollowsIt) {
  api_.put(ScriptedApi::namespaces, "shop", R"({"metadata":{"name":"shop"}})");
  api_.put(ScriptedApi::nodes, "n1",
           R"({"metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"z"}}})");
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  api_.put(
      ScriptedApi::services, "web",
      R"({"metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}})");
  api_.put(ScriptedApi::slices, "web-1",
           R"({"metadata":{"name":"web-1","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},)"
           R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":8080}]})");
  start();
  ASSERT_TRUE(watching());
  const auto now = source_->current();
  EXPECT_NE(now->find_namespace("shop"), nullptr);
  EXPECT_NE(now->find_node("n1"), nullptr);
  EXPECT_NE(now->find_service("shop", "web"), nullptr);
  EXPECT_EQ(now->slices_of("shop", "web").size(), 1U);
  EXPECT_TRUE(has("a"));
  EXPECT_EQ(now->version(), 1U) << "only what is complete is published";

  api_.put(ScriptedApi::pods, "b", pod("b", "10.0.0.2"));
  EXPECT_TRUE(gets("b"));
  EXPECT_EQ(source_->current()->find_service("shop", "web"), now->find_service("shop", "web")) << "unchanged";
  api_.put(ScriptedApi::pods, "b", pod("b", "10.0.0.3"));
  EXPECT_TRUE(test::eventually(
      [&] { return source_->current()->pod_with_ip(IpAddress::parse("10.0.0.3").value()) != nullptr; }));
  api_.remove(ScriptedApi::pods, "a");
  EXPECT_TRUE(loses("a"));
  EXPECT_EQ(api_.accepted(), h2() ? 1U : 5U);
}

TEST_P(KubernetesSource, IsNotSyncedBeforeEveryKindWasListed) {
  for (int i = 0; i < 3; ++i) api_.answer_next(ScriptedApi::services, {"500 Internal Server Error", "", ""});
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  api_.answer_next(ScriptedApi::services, {"429 Too Many Requests", "Retry-After: 1\r\n", ""});
  start();
  ASSERT_TRUE(test::eventually([&] { return api_.open_watches(ScriptedApi::pods) == 1; }));
  ASSERT_TRUE(test::eventually([&] { return api_.requests(ScriptedApi::services) == 4; }));
  EXPECT_FALSE(source_->status().synced);
  EXPECT_EQ(source_->current()->version(), 0U);
  EXPECT_TRUE(synced());
  EXPECT_TRUE(has("a"));
}

TEST_P(KubernetesSource, ReadsAListInPages) {
  for (const char* name : {"a", "b", "c", "d", "e"}) api_.put(ScriptedApi::pods, name, pod(name, "10.0.0.1"));
  api_.limit_pages(2);
  start();
  ASSERT_TRUE(watching());
  EXPECT_EQ(source_->current()->objects().pods.size(), 5U);
  EXPECT_EQ(api_.requests("/pods?limit="), 3U);
}

TEST_P(KubernetesSource, ListsFromTheStartWhenAContinuationHasExpired) {
  for (const char* name : {"a", "b", "c"}) api_.put(ScriptedApi::pods, name, pod(name, "10.0.0.1"));
  api_.limit_pages(1);
  api_.answer_next(
      "pods?limit=500&continue=0.2",
      {"410 Gone", "", R"({"kind":"Status","code":410,"reason":"Expired","metadata":{"continue":"x"}})"});
  start();
  ASSERT_TRUE(watching());
  EXPECT_EQ(source_->current()->objects().pods.size(), 3U);
  EXPECT_THAT(
      api_.targets("pods?limit"),
      ::testing::ElementsAre("/api/v1/pods?limit=500", "/api/v1/pods?limit=500&continue=0.1",
                             "/api/v1/pods?limit=500&continue=0.2", "/api/v1/pods?limit=500",
                             "/api/v1/pods?limit=500&continue=0.1", "/api/v1/pods?limit=500&continue=0.2"));
}

TEST_P(KubernetesSource, WatchesOnFromTheLastBookmarkWheneverAWatchEnds) {
  start();
  ASSERT_TRUE(watching());
  for (const bool cleanly : {true, false, true}) {
    const auto watches = api_.requests("pods?watch");
    const auto lists = api_.requests("pods?limit");
    api_.bookmark(ScriptedApi::pods);
    api_.end_watches(cleanly);
    ASSERT_TRUE(test::eventually([&] { return api_.requests("pods?watch") > watches; }));
    const std::string name = "p" + std::to_string(watches);
    api_.put(ScriptedApi::pods, name, pod(name, "10.0.0.1"));
    EXPECT_TRUE(gets(name));
    EXPECT_EQ(api_.requests("pods?limit"), lists) << "nothing was missed";
  }
  const auto targets = api_.targets("pods?watch");
  EXPECT_THAT(targets[0], HasSubstr("resourceVersion=100&"));
  EXPECT_THAT(targets[1], HasSubstr("resourceVersion=101&"));
}

TEST_P(KubernetesSource, ListsAgainWhenItsVersionIsTooOldAndForgetsWhatIsGone) {
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  api_.put(ScriptedApi::pods, "b", pod("b", "10.0.0.2"));
  start();
  ASSERT_TRUE(watching());
  const auto kept = source_->current()->find_pod("shop", "a");
  api_.rewrite(ScriptedApi::pods, {{"a", pod("a", "10.0.0.1")}, {"c", pod("c", "10.0.0.3")}});
  api_.expire_versions();
  EXPECT_TRUE(gets("c"));
  EXPECT_TRUE(loses("b"));
  EXPECT_EQ(source_->current()->find_pod("shop", "a"), kept);
  api_.put(ScriptedApi::pods, "d", pod("d", "10.0.0.4"));
  EXPECT_TRUE(gets("d"));
}

TEST_P(KubernetesSource, ListsAgainWhenAWatchIsRefusedWithStatus410) {
  api_.answer_next("pods?watch", {"410 Gone", "", R"({"kind":"Status","code":410})"});
  start();
  ASSERT_TRUE(test::eventually([&] { return api_.requests("pods?limit") == 2; }));
  ASSERT_TRUE(watching());
}

TEST_P(KubernetesSource, ConnectsAgainWhenAWatchIsSilentForTooLong) {
  options_.timeouts.silence = milliseconds(100);
  start();
  ASSERT_TRUE(watching());
  api_.hold_watches(true);
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  const auto before = api_.requests("pods?watch");
  ASSERT_TRUE(test::eventually([&] { return api_.requests("pods?watch") > before + 1; }));
  EXPECT_FALSE(has("a"));
  api_.hold_watches(false);
  EXPECT_TRUE(gets("a"));
}

TEST_P(KubernetesSource, WaitsAsLongAsTheServerAsks) {
  api_.answer_next("pods?limit", {"429 Too Many Requests", "Retry-After: 1\r\n", ""});
  const auto begin = std::chrono::steady_clock::now();
  start();
  ASSERT_TRUE(synced());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, seconds(1));
  EXPECT_EQ(api_.requests("pods?limit"), 2U);
  EXPECT_EQ(api_.accepted(), h2() ? 1U : 6U) << "one; or five, and no idle one is trusted after the pause";
}

TEST_P(KubernetesSource, TakesUpATokenThatWasReplaced) {
  folder_.put("token", "first\n");
  configure("{tokenFile: token}");
  api_.require_token("first");
  start();
  ASSERT_TRUE(watching());
  api_.require_token("second");
  api_.end_watches(true);
  ASSERT_TRUE(test::eventually([&] { return !source_->status().connected; }));
  folder_.put("token", "second\n");
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  EXPECT_TRUE(gets("a"));
  EXPECT_TRUE(watching());
  EXPECT_EQ(api_.requests("pods?limit"), 1U) << "a refusal makes nothing old";
}

TEST_P(KubernetesSource, ShowsItsCertificate) {
  test::Authority clients("clients");
  api_.require_certificate_of(clients.root_pem());
  const auto pair = clients.issue({});
  folder_.put("client.crt", pair.certificate_pem);
  folder_.put("client.key", pair.key_pem);
  configure("{client-certificate: client.crt, client-key: client.key}");
  start();
  EXPECT_TRUE(watching());
}

TEST_P(KubernetesSource, SaysNothingToAServerThatIsNotTheOneItWants) {
  configure("{token: secret}", "another");
  start();
  ASSERT_TRUE(test::eventually([&] { return source_->status().errors >= 5; }));
  EXPECT_EQ(api_.requests(""), 0U);
  source_.reset();
  test::Authority other("other");
  folder_.put("ca.crt", other.root_pem());
  configure("{token: secret}");
  start();
  ASSERT_TRUE(test::eventually([&] { return source_->status().errors >= 5; }));
  EXPECT_EQ(api_.requests(""), 0U);
  source_.reset();
  configure("{token: secret}", "another", "insecure-skip-tls-verify: true");
  options_.insecure_skip_tls_verify = true;
  start();
  EXPECT_TRUE(watching());
}

TEST_P(KubernetesSource, WorksOnWithWhatItKnowsWhileTheServerIsAway) {
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  start();
  ASSERT_TRUE(watching());
  api_.stop();
  ASSERT_TRUE(test::eventually([&] { return !source_->status().connected; }));
  EXPECT_TRUE(has("a"));
  EXPECT_TRUE(source_->status().synced);
  api_.put(ScriptedApi::pods, "b", pod("b", "10.0.0.2"));
  api_.start();
  EXPECT_TRUE(gets("b"));
  EXPECT_TRUE(watching());
}

TEST_P(KubernetesSource, StartsWhileTheServerIsAway) {
  api_.stop();
  start();
  ASSERT_TRUE(test::eventually([&] { return source_->status().errors >= 5; }));
  EXPECT_FALSE(source_->status().synced);
  api_.start();
  EXPECT_TRUE(synced());
}

TEST_P(KubernetesSource, ListsAgainAfterEventsThatMakeNoSense) {
  options_.line_limit = 4096;
  start();
  ASSERT_TRUE(watching());
  int lists = 1;
  for (const std::string& nonsense :
       {std::string("<html>\n"), std::string("{\"type\":\"ADDED\"}\n"), std::string(8192, 'x')}) {
    api_.send_to_watches(ScriptedApi::pods, nonsense);
    ++lists;
    ASSERT_TRUE(test::eventually([&] {
      return api_.requests("pods?limit") == static_cast<std::size_t>(lists);
    })) << nonsense;
    const std::string name = "p" + std::to_string(lists);
    api_.put(ScriptedApi::pods, name, pod(name, "10.0.0.1"));
    EXPECT_TRUE(gets(name));
  }
}

TEST_P(KubernetesSource, AsksAgainWhenAListMakesNoSense) {
  for (const char* body : {"<html>", "[]", R"({"items":[]})", ""})
    api_.answer_next("pods?limit", {"200 OK", "", body});
  start();
  EXPECT_TRUE(synced());
  EXPECT_EQ(api_.requests("pods?limit"), 5U);
}

TEST_P(KubernetesSource, KeepsTheLastGoodVersionOfAnObjectItCannotDecode) {
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  start();
  ASSERT_TRUE(watching());
  api_.put(ScriptedApi::pods, "a", pod("a", "nowhere"));
  ASSERT_TRUE(test::eventually([&] { return source_->status().broken_files == 1; }));
  EXPECT_TRUE(has("a"));
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  api_.put(ScriptedApi::pods, "b", pod("b", "10.0.0.2"));
  EXPECT_TRUE(gets("b"));
  EXPECT_EQ(source_->status().broken_files, 0U);
}

TEST_P(KubernetesSource, ReadsWhatTheClusterServesAndNoticesWhenThatChanges) {
  const std::string slice =
      R"({"metadata":{"name":"web-1","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},)"
      R"("endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":80}]})";
  api_.serve_slices({});
  api_.put(ScriptedApi::endpoints, "web",
           R"({"metadata":{"name":"web","namespace":"shop"},"subsets":[{"addresses":[{"ip":"10.0.0.1"}],)"
           R"("ports":[{"port":80}]}]})");
  api_.put(ScriptedApi::old_slices, "web-1", slice);
  start();
  ASSERT_TRUE(watching());
  ASSERT_EQ(source_->current()->slices_of("shop", "web").size(), 1U);
  EXPECT_EQ(source_->current()->slices_of("shop", "web")[0]->meta.name, "web/subset-0");
  source_.reset();

  api_.serve_slices({"v1beta1"});
  start();
  ASSERT_TRUE(watching());
  EXPECT_EQ(api_.requests(std::string(ScriptedApi::old_slices) + "?watch"), 1U);
  api_.put(ScriptedApi::slices, "web-2", R"({"metadata":{"name":"web-2","namespace":"shop"}})");
  api_.serve_slices({"v1"});
  api_.end_watches(true);
  EXPECT_TRUE(test::eventually([&] {
    const auto now = source_->current();
    return now->objects().slices.size() == 1 && now->objects().slices[0]->meta.name == "web-2";
  }));
}

TEST_P(KubernetesSource, PublishesABurstTogetherAndNothingWhenNothingItReadsChanged) {
  options_.publish_delay = milliseconds(200);
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));
  start();
  ASSERT_TRUE(watching());
  api_.put(ScriptedApi::pods, "a", pod("a", "10.0.0.1"));  // another resourceVersion only
  for (int i = 0; i < 300; ++i) {
    const std::string name = "p" + std::to_string(i);
    api_.put(ScriptedApi::pods, name, pod(name, "10.1.0.1"));
  }
  EXPECT_TRUE(gets("p299"));
  const auto version = source_->status().version;
  EXPECT_LE(version, 10U);
  EXPECT_TRUE(test::eventually([&] { return announced_.load() >= static_cast<int>(version); }))
      << "told of each";
}

TEST_P(KubernetesSource, TellsOfAKubeconfigItCannotUse) {
  options_.kubeconfig = folder_.file("none");
  EXPECT_THAT(make_kubernetes_source(options_).error().message(), HasSubstr("none"));
  options_.kubeconfig = folder_.file("config");
  configure("{exec: {command: x}}");
  EXPECT_EQ(make_kubernetes_source(options_).error().code, Errc::unsupported);
}

INSTANTIATE_TEST_SUITE_P(Over, KubernetesSource, ::testing::Values(Http::two, Http::one),
                         [](const auto& version) { return version.param == Http::two ? "H2" : "H1"; });

}  // namespace
}  // namespace heddle::source
