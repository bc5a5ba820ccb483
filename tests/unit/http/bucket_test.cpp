// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/http_bucket.h"

#include "tests/unit/http/in_memory.h"

namespace heddle::proxy {
namespace {

// Connections are made when the test says so.
class Bucket final : public HttpBucket {
 public:
  Bucket(http::Engine& engine, const Limits& limits) : HttpBucket(engine, limits, {}) {}
  using HttpBucket::connect_failed;
  using HttpBucket::connecting;
  using HttpBucket::h1_connected;

 private:
  void connect() override {}
};

struct Waiter final : http::ClientWaiter {
  void client_ready(http::Client& given) override { client = &given; }
  void client_failed(const Error&) override { failed = true; }
  http::Client* client = nullptr;
  bool failed = false;
};

class HttpBucketTest : public ::testing::Test {
 protected:
  static HttpBucket::Limits limits() {
    HttpBucket::Limits limits;
    limits.max_h1 = 3;
    return limits;
  }
  void wait(std::size_t count) {
    waiters.resize(count);
    for (auto& waiter : waiters) {
      waiter = std::make_unique<Waiter>();
      EXPECT_EQ(bucket.acquire(*waiter), nullptr);
    }
  }
  std::size_t failed() const {
    std::size_t count = 0;
    for (const auto& waiter : waiters) count += waiter->failed ? 1 : 0;
    return count;
  }
  // The far end of a connection that was made.
  std::unique_ptr<Stream> connected() {
    auto [ours, theirs] = make_pipe(loop.loop);
    bucket.h1_connected(std::move(ours));
    return std::move(theirs);
  }

  http::TestLoop loop;
  Bucket bucket{loop.engine, limits()};
  std::vector<std::unique_ptr<Waiter>> waiters;
};

TEST_F(HttpBucketTest, OpensNoMoreConnectionsThanItMay) {
  wait(10);
  EXPECT_EQ(bucket.connecting(), 3u);
  const auto server = connected();
  EXPECT_NE(waiters[0]->client, nullptr);
  EXPECT_EQ(bucket.connecting(), 2u) << "one is open, two are coming: three";
}

TEST_F(HttpBucketTest, OpensAnotherForWhoWaitsWhenOneOfTooManyEnds) {
  wait(10);
  auto server = connected();
  server.reset();
  EXPECT_TRUE(loop.until([&] { return bucket.connecting() == 3; })) << bucket.connecting();
}

TEST_F(HttpBucketTest, FailsOneRequestPerConnectionThatFailsAndTriesOnForTheOthers) {
  wait(5);
  const Error error = make_error(Errc::unavailable, "refused");
  for (std::size_t i = 1; i <= 5; ++i) {
    bucket.connect_failed(error);
    EXPECT_EQ(failed(), i);
    EXPECT_EQ(bucket.connecting(), std::min<std::size_t>(3, 5 - i));
  }
}

}  // namespace
}  // namespace heddle::proxy
