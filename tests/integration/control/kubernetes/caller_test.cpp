// SPDX-License-Identifier: Apache-2.0
// Single questions to an API server that follows a script, over real TLS sockets.
#include "control/source/kubernetes/caller.h"
#include "tests/support/eventually.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <atomic>
#include <optional>

#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::source::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ScriptedApi;
using ::testing::HasSubstr;

constexpr const char* reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
constexpr milliseconds long_enough = seconds(120);

// Over HTTP/2, and from a server that has HTTP/1.1 only.
enum class Http { two, one };

class KubernetesCaller : public ::testing::TestWithParam<Http> {
 protected:
  bool h2() const { return GetParam() == Http::two; }
  std::size_t most_at_once() const { return h2() ? Caller::most_streams : Caller::most_connections; }
  KubernetesCaller() {
    Access access;
    access.host = "127.0.0.1";
    access.port = api_.port();
    access.server_name = "kubernetes";
    access.authority.text = authority_.root_pem();
    caller_.emplace(access);
  }
  ~KubernetesCaller() override { api_.hold_answers(false); }

  static Request get(const std::string& target = "/api/v1/pods?limit=1") {
    Request request;
    request.target = target;
    return request;
  }
  static Request post(const std::string& body) { return {"POST", reviews, body, "application/json"}; }
  // What `done` was told, by kind.
  struct Tally {
    std::atomic<std::size_t> answers{0};
    std::atomic<std::size_t> closed{0};
    std::atomic<std::size_t> exhausted{0};
    std::atomic<std::size_t> late{0};
    std::atomic<std::size_t> others{0};
  };
  void ask(Tally& tally, milliseconds deadline = long_enough) {
    caller_->call(get(), deadline, [&tally](const Result<Answer>& answer) {
      if (answer) {
        ++tally.answers;
      } else if (answer.error().code == Errc::closed) {
        ++tally.closed;
      } else if (answer.error().code == Errc::exhausted) {
        ++tally.exhausted;
      } else if (answer.error().code == Errc::timeout) {
        ++tally.late;
      } else {
        ++tally.others;
      }
    });
  }

  test::Authority authority_;
  ScriptedApi api_{authority_, h2()};
  std::optional<Caller> caller_;
};

TEST_P(KubernetesCaller, SendsABodyWithItsTypeAndGivesTheAnswer) {
  const auto made = caller_->call(post(R"({"spec":{"token":"t"}})"), long_enough);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->status, 201);
  EXPECT_EQ(made->body, R"({"spec":{"token":"t"}})");
  const auto patched = caller_->call(
      {"PATCH", "/api/v1/nodes/n", R"({"spec":{"taints":[]}})", "application/merge-patch+json"}, long_enough);
  ASSERT_TRUE(patched) << patched.error().message();
  const auto asked = api_.asked("/");
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].method, "POST");
  EXPECT_EQ(asked[0].field("Content-Type"), "application/json");
  EXPECT_EQ(asked[0].body, R"({"spec":{"token":"t"}})");
  EXPECT_EQ(asked[1].method, "PATCH");
  EXPECT_EQ(asked[1].field("Content-Type"), "application/merge-patch+json");
  EXPECT_EQ(api_.accepted(), 1U) << "one after the other they share a connection";
}

TEST_P(KubernetesCaller, SendsAChangeWithoutABody) {
  Request request;
  request.method = "DELETE";
  request.target = "/api/v1/namespaces/shop/pods/a";
  const auto answer = caller_->call(request, long_enough);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(api_.asked("/pods/a").at(0).method, "DELETE");
  EXPECT_EQ(api_.asked("/pods/a").at(0).field("Content-Type"), "");
}

TEST_P(KubernetesCaller, GivesRefusalsAsAnswers) {
  const auto refuse = [&](const std::string& status, const std::string& headers) {
    api_.answer_next(reviews, {status, headers, R"({"kind":"Status","message":"no"})"});
    auto answer = caller_->call(post("{}"), long_enough);
    EXPECT_TRUE(answer) << answer.error().message();
    return answer ? *answer : Answer{};
  };
  EXPECT_EQ(refuse("409 Conflict", "").status, 409);
  EXPECT_EQ(refuse("422 Unprocessable Entity", "").body, R"({"kind":"Status","message":"no"})");
  const Answer busy = refuse("429 Too Many Requests", "Retry-After: 7\r\n");
  EXPECT_EQ(busy.status, 429);
  EXPECT_EQ(busy.retry_after, seconds(7));
  EXPECT_EQ(api_.accepted(), 1U);
}

TEST_P(KubernetesCaller, GivesUpAtTheDeadlineAndGoesOnWithTheNext) {
  api_.hold_answers(true);
  const auto late = caller_->call(get(), milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timeout);
  EXPECT_THAT(late.error().message(), HasSubstr("GET /api/v1/pods"));
  api_.hold_answers(false);
  const auto next = caller_->call(get(), long_enough);
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(next->status, 200) << "the late answer is not taken for this one's";
}

TEST_P(KubernetesCaller, KeepsADeadlineThatPassesInTheQueue) {
  api_.hold_answers(true);
  Tally slow;
  for (std::size_t i = 0; i < most_at_once(); ++i) ask(slow);
  ASSERT_TRUE(test::eventually([&] { return api_.requests("/pods") == most_at_once(); }));
  const auto late = caller_->call(get(), milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timeout);
  EXPECT_EQ(slow.answers, 0U) << "the ones before it are still waited for";
  api_.hold_answers(false);
  EXPECT_TRUE(test::eventually([&] { return slow.answers == most_at_once(); }));
  EXPECT_EQ(api_.requests("/pods"), most_at_once()) << "what nobody waits for is not asked";
}

TEST_P(KubernetesCaller, AsksSoManyAtOnceAtMost) {
  api_.hold_answers(true);
  Tally tally;
  for (std::size_t i = 0; i < most_at_once() + 40; ++i) ask(tally);
  ASSERT_TRUE(test::eventually([&] { return api_.requests("/pods") == most_at_once(); }));
  api_.hold_answers(false);
  EXPECT_TRUE(test::eventually([&] { return tally.answers == most_at_once() + 40; }));
  EXPECT_EQ(api_.accepted(), h2() ? 1U : Caller::most_connections);
}

TEST_P(KubernetesCaller, RefusesWhatTheQueueDoesNotTake) {
  api_.hold_answers(true);
  Tally tally;
  for (std::size_t i = 0; i < most_at_once(); ++i) ask(tally);
  ASSERT_TRUE(test::eventually([&] { return api_.requests("/pods") == most_at_once(); }));
  for (std::size_t i = 0; i < Caller::most_waiting + 3; ++i) ask(tally);
  EXPECT_TRUE(test::eventually([&] { return tally.exhausted == 3; }));
  api_.hold_answers(false);
  // The scripted API makes a thread for each: seconds, half a minute under ThreadSanitizer on a busy machine.
  EXPECT_TRUE(
      test::eventually([&] { return tally.answers == most_at_once() + Caller::most_waiting; }, seconds(120)))
      << tally.answers << " answers";
  EXPECT_EQ(tally.exhausted, 3U);
}

TEST_P(KubernetesCaller, AnswersWhatIsOutstandingWhenItEnds) {
  api_.hold_answers(true);
  Tally tally;
  const std::size_t all = most_at_once() + 16;
  for (std::size_t i = 0; i < all; ++i) ask(tally);
  ASSERT_TRUE(test::eventually([&] { return api_.requests("/pods") == most_at_once(); }));
  caller_.reset();
  EXPECT_EQ(tally.closed, all);
}

TEST_P(KubernetesCaller, ConnectsAnewWhenTheServerEndedAnIdleConnection) {
  ASSERT_TRUE(caller_->call(get(), long_enough));
  api_.cut_connections();
  const auto made = caller_->call(post("{}"), long_enough);
  ASSERT_TRUE(made) << "nothing had been sent: " << made.error().message();
  EXPECT_EQ(api_.requests(reviews), 1U);
  EXPECT_EQ(api_.accepted(), 2U);
}

TEST_P(KubernetesCaller, AsksOnceMoreForWhatAnIdleConnectionLost) {
  ASSERT_TRUE(caller_->call(get(), long_enough));
  api_.answer_next("/nodes", {"", "", ""});
  const auto again = caller_->call(get("/api/v1/nodes?limit=1"), long_enough);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->status, 200);
  EXPECT_EQ(api_.requests("/nodes"), 2U);
  // A new connection that is lost is no accident of idleness.
  api_.cut_connections();
  api_.answer_next("/services", {"", "", ""});
  EXPECT_FALSE(caller_->call(get("/api/v1/services?limit=1"), long_enough));
  EXPECT_EQ(api_.requests("/services"), 1U);
}

TEST_P(KubernetesCaller, NeverRepeatsAChange) {
  ASSERT_TRUE(caller_->call(get(), long_enough));
  api_.answer_next(reviews, {"", "", ""});
  const auto made = caller_->call(post("{}"), long_enough);
  EXPECT_FALSE(made);
  EXPECT_EQ(api_.requests(reviews), 1U);
}

TEST_P(KubernetesCaller, SaysThatTheServerIsAwayAndComesBackWithIt) {
  api_.stop();
  const auto away = caller_->call(get(), long_enough);
  ASSERT_FALSE(away);
  EXPECT_THAT(away.error().message(), HasSubstr("cannot connect"));
  api_.start();
  EXPECT_TRUE(caller_->call(get(), long_enough));
}

std::string gzipped(const std::string& text) {
  z_stream z{};
  if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) out.clear();
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

TEST_P(KubernetesCaller, DecodesWhatIsCompressed) {
  std::string text;
  while (text.size() < 300'000) text += std::to_string(text.size()) + ",";
  for (const std::string& body :
       {text, std::string(32 * 1024, 'x'), std::string(64 * 1024, 'x'), std::string()}) {
    api_.answer_next("/pods", {"200 OK", "Content-Encoding: gzip\r\n", gzipped(body)});
    const auto answer = caller_->call(get(), long_enough);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(answer->body.size(), body.size());
    EXPECT_TRUE(answer->body == body);
  }
  EXPECT_EQ(api_.asked("/pods").at(0).field("Accept-Encoding"), "gzip");
}

TEST_P(KubernetesCaller, RefusesWhatIsNotTheGzipThatItSaysItIs) {
  const std::string good = gzipped("{}");
  std::string wrong_sum = good;
  wrong_sum[wrong_sum.size() - 8] = static_cast<char>(wrong_sum[wrong_sum.size() - 8] + 1);
  for (const std::string& body :
       {std::string("{}"), good.substr(0, good.size() - 1), good + "x", wrong_sum}) {
    api_.answer_next("/pods", {"200 OK", "Content-Encoding: gzip\r\n", body});
    const auto answer = caller_->call(get(), long_enough);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::protocol) << answer.error().message();
  }
  api_.answer_next("/pods", {"200 OK", "Content-Encoding: br\r\n", "{}"});
  EXPECT_EQ(caller_->call(get(), long_enough).error().code, Errc::protocol);
}

TEST_P(KubernetesCaller, StopsDecodingAtTheLimit) {
  api_.answer_next("/pods",
                   {"200 OK", "Content-Encoding: gzip\r\n", gzipped(std::string(Client::body_limit, 'x'))});
  const auto most = caller_->call(get(), long_enough);
  ASSERT_TRUE(most) << most.error().message();
  EXPECT_EQ(most->body.size(), Client::body_limit);
  api_.answer_next(
      "/pods", {"200 OK", "Content-Encoding: gzip\r\n", gzipped(std::string(Client::body_limit + 1, 'x'))});
  const auto more = caller_->call(get(), long_enough);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, Errc::exhausted);
}

INSTANTIATE_TEST_SUITE_P(Over, KubernetesCaller, ::testing::Values(Http::two, Http::one),
                         [](const auto& version) { return version.param == Http::two ? "H2" : "H1"; });

}  // namespace
}  // namespace heddle::source::kubernetes
