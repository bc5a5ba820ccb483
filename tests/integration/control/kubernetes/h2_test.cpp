// SPDX-License-Identifier: Apache-2.0
// What only happens on one shared connection of HTTP/2: the source of a cluster's objects and single
// questions, against an API server that follows a script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>

#include <atomic>

#include "base/io/file.h"
#include "control/source/kubernetes/caller.h"
#include "control/source/kubernetes/connections.h"
#include "control/source/kubernetes/source.h"
#include "scratch_folder.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::source::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ScriptedApi;
using ::testing::HasSubstr;

constexpr milliseconds long_enough = seconds(60);
constexpr const char* reviews = "/apis/authentication.k8s.io/v1/tokenreviews";

std::string pod(const std::string& name) {
  return R"({"metadata":{"name":")" + name + R"(","namespace":"shop"},"status":{"podIP":"10.0.0.1"}})";
}

class KubernetesH2 : public ::testing::Test {
 protected:
  KubernetesH2() {
    ::signal(SIGPIPE, SIG_IGN);
    options_.policy.backoff = {milliseconds(5), milliseconds(100), 0.5};
    options_.kubeconfig = folder_.file("config");
    folder_.put("ca.crt", authority_.root_pem());
    folder_.put("config",
                "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
                    std::to_string(api_.port()) +
                    "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: "
                    "[{name: u, user: {}}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
  }
  ~KubernetesH2() override { api_.hold_answers(false); }

  // Every watch is open: what comes now is an event.
  bool watches() {
    auto made = make_kubernetes_source(options_);
    EXPECT_TRUE(made) << made.error().message();
    source_ = std::move(*made);
    EXPECT_TRUE(source_->start([](const std::shared_ptr<const Snapshot>&) {}));
    return test::eventually([&] { return source_->status().synced && source_->status().connected; });
  }
  bool hears_of(const std::string& name) {
    api_.put(ScriptedApi::pods, name, pod(name));
    return test::eventually([&] { return source_->current()->find_pod("shop", name) != nullptr; });
  }
  std::size_t open_watches() const {
    std::size_t out = 0;
    for (const char* path : {ScriptedApi::namespaces, ScriptedApi::nodes, ScriptedApi::pods,
                             ScriptedApi::services, ScriptedApi::slices}) {
      out += api_.open_watches(path);
    }
    return out;
  }
  std::unique_ptr<Caller> caller(const Timeouts& timeouts = {}) const {
    Access access;
    access.host = "127.0.0.1";
    access.port = api_.port();
    access.server_name = "kubernetes";
    access.authority.text = authority_.root_pem();
    return std::make_unique<Caller>(access, timeouts);
  }
  static Request get(const std::string& target = "/api/v1/pods?limit=1") {
    Request request;
    request.target = target;
    return request;
  }
  static Request post(const std::string& body) { return {"POST", reviews, body, "application/json"}; }

  test::Authority authority_;
  ScriptedApi api_{authority_};
  test::ScratchFolder folder_;
  KubernetesOptions options_;
  std::unique_ptr<Source> source_;
};

TEST_F(KubernetesH2, EndsWhatRunsOnAConnectionThatSaidFarewellAndGoesOnOverAnother) {
  ASSERT_TRUE(watches());
  api_.say_farewell();
  EXPECT_TRUE(hears_of("a")) << "watches that run go on";
  EXPECT_EQ(api_.accepted(), 1U);
  api_.end_watches(true);
  EXPECT_TRUE(test::eventually([&] {
    return api_.accepted() == 2 && open_watches() == 5 && api_.connected() == 1;
  })) << "the old connection is closed when its last watch has ended";
  EXPECT_TRUE(hears_of("b"));
  EXPECT_EQ(api_.accepted(), 2U);
  EXPECT_EQ(api_.requests("pods?limit"), 1U) << "nothing was missed";
}

TEST_F(KubernetesH2, ResetsOfWatchesCostNoConnection) {
  ASSERT_TRUE(watches());
  for (const char* name : {"a", "b", "c"}) {
    api_.end_watches(false);
    EXPECT_TRUE(hears_of(name));
  }
  EXPECT_EQ(api_.accepted(), 1U);
  EXPECT_EQ(api_.requests("pods?limit"), 1U);
}

TEST_F(KubernetesH2, NoticesAServerThatVanishedLongBeforeTheSilenceOfAWatchTells) {
  options_.timeouts.ping_after = milliseconds(50);
  options_.timeouts.ping_answer = milliseconds(500);
  ASSERT_TRUE(watches());
  api_.freeze_connections(true);
  EXPECT_TRUE(hears_of("a")) << "over another connection";
  EXPECT_EQ(api_.requests("pods?limit"), 1U);
  api_.freeze_connections(false);
  EXPECT_TRUE(test::eventually([&] { return api_.connected() == 1; })) << "and the old one was closed";
}

TEST_F(KubernetesH2, KeepsAQuietConnectionWhoseServerAnswers) {
  options_.timeouts.ping_after = milliseconds(10);
  options_.timeouts.ping_answer = seconds(20);
  ASSERT_TRUE(watches());
  EXPECT_TRUE(test::eventually([&] { return api_.pings() >= 10; }));
  EXPECT_TRUE(hears_of("a"));
  EXPECT_EQ(api_.accepted(), 1U);
}

TEST_F(KubernetesH2, ConnectsOnceMoreWhereTheServerTakesNoMoreStreams) {
  api_.limit_streams(2);
  ASSERT_TRUE(watches());
  EXPECT_TRUE(test::eventually([&] { return open_watches() == 5; }));
  EXPECT_TRUE(hears_of("a"));
  EXPECT_EQ(api_.accepted(), 3U) << "two, two and one";
}

TEST_F(KubernetesH2, WaitsForAStreamWhenThereAreConnectionsEnough) {
  api_.limit_streams(1);
  api_.hold_answers(true);
  std::atomic<int> answers{0};
  const auto asker = caller();
  for (int i = 0; i < 20; ++i) {
    asker->call(get(), long_enough, [&](const Result<Answer>& answer) { answers += answer ? 1 : 0; });
  }
  constexpr auto most = static_cast<std::size_t>(Connections::most_shared);
  ASSERT_TRUE(test::eventually([&] { return api_.requests("/pods") == most; }));
  api_.hold_answers(false);
  EXPECT_TRUE(test::eventually([&] { return answers == 20; }));
  EXPECT_EQ(api_.accepted(), most);
}

TEST_F(KubernetesH2, RepeatsAChangeThatTheServerHasNotLookedAtAndNoOther) {
  const auto asker = caller();
  api_.answer_next(reviews, {"", "", "", NGHTTP2_REFUSED_STREAM});
  const auto made = asker->call(post("{}"), long_enough);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->status, 201);
  EXPECT_EQ(api_.requests(reviews), 2U);
  api_.answer_next(reviews, {"", "", "", NGHTTP2_INTERNAL_ERROR});
  const auto lost = asker->call(post("{}"), long_enough);
  ASSERT_FALSE(lost);
  EXPECT_THAT(lost.error().message(), HasSubstr("INTERNAL_ERROR"));
  EXPECT_EQ(api_.requests(reviews), 3U);
  EXPECT_EQ(api_.accepted(), 1U);
}

TEST_F(KubernetesH2, GivesUpOnAServerThatTurnsEveryQuestionAway) {
  const auto asker = caller();
  for (int i = 0; i < 10; ++i) api_.answer_next("/pods", {"", "", "", NGHTTP2_REFUSED_STREAM});
  EXPECT_FALSE(asker->call(get(), long_enough));
  EXPECT_EQ(api_.requests("/pods"), 3U);
}

TEST_F(KubernetesH2, TakesALargeListThroughWindowsThatAreBounded) {
  const auto asker = caller();
  std::string body;
  while (body.size() < 40 * 1024 * 1024) body += std::to_string(body.size()) + ",";
  api_.answer_next("/pods", {"200 OK", "", body});
  const auto answer = asker->call(get(), long_enough);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_TRUE(answer->body == body);
  const auto [all, each] = api_.windows();
  EXPECT_LE(all, H2Connection::connection_window);
  // It is granted again when half was used up, which is noticed with the frame that passes it.
  constexpr int largest_frame = 16 * 1024;
  EXPECT_GE(all, H2Connection::connection_window / 2 - largest_frame) << "what was used up is granted again";
  EXPECT_EQ(each, H2Connection::stream_window);
}

TEST_F(KubernetesH2, SendsABodyThatIsLargerThanTheServersWindow) {
  const auto asker = caller();
  const std::string body(1024 * 1024, 'x');
  const auto answer = asker->call(post(body), long_enough);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_TRUE(answer->body == body);
}

TEST_F(KubernetesH2, TellsOfAServerThatSaysNothingAfterTls) {
  api_.begin_frozen(true);
  Timeouts timeouts;
  timeouts.connect = milliseconds(100);
  const auto asker = caller(timeouts);
  const auto away = asker->call(get(), long_enough);
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, Errc::timeout);
  EXPECT_THAT(away.error().message(), HasSubstr("SETTINGS"));
  api_.begin_frozen(false);
  EXPECT_TRUE(asker->call(get(), long_enough));
}

TEST_F(KubernetesH2, FollowsAServerToHttp11AndBack) {
  ASSERT_TRUE(watches());
  api_.speak_h2(false);
  api_.cut_connections();
  EXPECT_TRUE(test::eventually([&] { return open_watches() == 5 && api_.connected() == 5; }));
  EXPECT_TRUE(hears_of("a"));
  api_.speak_h2(true);
  api_.cut_connections();
  for (const char* path : {ScriptedApi::namespaces, ScriptedApi::nodes, ScriptedApi::pods,
                           ScriptedApi::services, ScriptedApi::slices}) {
    api_.bookmark(path);  // the server only finds by writing that a client of HTTP/1.1 has gone
  }
  EXPECT_TRUE(test::eventually([&] { return open_watches() == 5 && api_.connected() == 1; }));
  EXPECT_TRUE(hears_of("b"));
}

TEST_F(KubernetesH2, AsksAnotherQuestionAfterOneThatWasGivenUp) {
  Timeouts timeouts;
  timeouts.answer = milliseconds(100);
  const auto asker = caller(timeouts);
  api_.hold_answers(true);
  const auto late = asker->call(get(), long_enough);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timeout);
  api_.hold_answers(false);
  EXPECT_TRUE(asker->call(get(), long_enough));
  EXPECT_EQ(api_.accepted(), 1U) << "only the stream was given up";
}

}  // namespace
}  // namespace heddle::source::kubernetes
