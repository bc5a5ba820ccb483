// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/list_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

class ListWatchTest : public ::testing::Test {
 protected:
  static ListWatch make() {
    ListWatch::Policy policy;
    policy.page = 8;
    policy.watch_for = seconds(300);
    policy.backoff = {milliseconds(100), milliseconds(1600), 0.5};
    return {"/api/v1/pods", policy, 42};
  }
  void sync() {
    machine_.next();
    ASSERT_TRUE(machine_.on_page("100", ""));
  }
  // Asserts that the next wait is the n-th of a row of failures.
  void expect_wait(int n) {
    const auto wait = machine_.next().wait;
    const auto least = std::min(milliseconds(100) * (1 << (n - 1)), milliseconds(1600));
    EXPECT_GE(wait, least) << n;
    EXPECT_LE(wait, least * 3 / 2) << n;
  }

  ListWatch machine_ = make();
};

TEST_F(ListWatchTest, ListsInPagesThenWatchesFromTheLastPagesVersion) {
  auto step = machine_.next();
  EXPECT_EQ(step.target, "/api/v1/pods?limit=8");
  EXPECT_TRUE(step.first_page);
  EXPECT_FALSE(step.watch);
  EXPECT_EQ(step.wait, milliseconds(0));
  EXPECT_FALSE(machine_.on_page("100", "a+/="));
  step = machine_.next();
  EXPECT_EQ(step.target, "/api/v1/pods?limit=8&continue=a%2B%2F%3D");
  EXPECT_FALSE(step.first_page);
  EXPECT_FALSE(machine_.synced());
  EXPECT_TRUE(machine_.on_page("100", ""));
  EXPECT_TRUE(machine_.synced());
  step = machine_.next();
  EXPECT_TRUE(step.watch);
  EXPECT_EQ(step.wait, milliseconds(0));
  EXPECT_THAT(step.target, HasSubstr("/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=100&"));
}

TEST_F(ListWatchTest, AsksForWatchesOfDifferentLength) {
  sync();
  std::set<int> lengths;
  for (int i = 0; i < 50; ++i) {
    const std::string target = machine_.next().target;
    const int length = std::stoi(target.substr(target.find("timeoutSeconds=") + 15));
    EXPECT_GE(length, 300);
    EXPECT_LE(length, 600);
    lengths.insert(length);
  }
  EXPECT_GT(lengths.size(), 20U);
}

TEST_F(ListWatchTest, WatchesOnFromTheLastEventOrBookmarkWhenAWatchEnds) {
  sync();
  machine_.next();
  machine_.on_event("101");
  machine_.on_event("");
  machine_.on_event("140");
  machine_.on_watch_end();
  const auto step = machine_.next();
  EXPECT_TRUE(step.watch);
  EXPECT_THAT(step.target, HasSubstr("resourceVersion=140&"));
  EXPECT_LE(step.wait, milliseconds(150));
}

TEST_F(ListWatchTest, PausesLongerBetweenWatchesThatEndAtOnceAndBringNothing) {
  sync();
  machine_.next();
  for (int n = 1; n <= 7; ++n) {
    machine_.on_watch_end();
    expect_wait(n);
  }
  machine_.on_event("101");
  machine_.on_watch_end();
  expect_wait(1);
}

TEST_F(ListWatchTest, KeepsThePlaceWhenTheConnectionIsLost) {
  machine_.next();
  EXPECT_FALSE(machine_.on_page("100", "p2"));
  machine_.next();
  machine_.on_lost();
  auto step = machine_.next();
  EXPECT_THAT(step.target, HasSubstr("continue=p2"));
  EXPECT_FALSE(step.first_page);
  EXPECT_TRUE(machine_.on_page("100", ""));
  machine_.next();
  machine_.on_lost();
  step = machine_.next();
  EXPECT_TRUE(step.watch);
  EXPECT_THAT(step.target, HasSubstr("resourceVersion=100&"));
}

TEST_F(ListWatchTest, WaitsLongerWithEveryRefusalInARow) {
  machine_.next();
  for (int n = 1; n <= 8; ++n) {
    machine_.on_status(503, std::nullopt);
    expect_wait(n);
  }
  EXPECT_TRUE(machine_.on_page("100", ""));
  machine_.next();
  machine_.on_status(503, std::nullopt);
  expect_wait(1);
}

TEST_F(ListWatchTest, AsksAServerThatIsGoneAgainSoonHoweverLongItHasBeen) {
  sync();
  machine_.next();
  machine_.on_lost();
  expect_wait(1);
  for (int n = 0; n < 1000; ++n) machine_.on_lost();
  EXPECT_LE(machine_.next().wait, milliseconds(750));
}

TEST_F(ListWatchTest, DoesNotMakeAnOutageLongerByWaitingAfterTheFirstAnswer) {
  sync();
  machine_.next();
  for (int n = 0; n < 1000; ++n) machine_.on_lost();
  machine_.next();
  machine_.on_status(410, std::nullopt);  // the history was compacted meanwhile
  expect_wait(1);
  EXPECT_TRUE(machine_.on_page("900", ""));
  machine_.next();
  machine_.on_lost();
  expect_wait(1);
}

TEST_F(ListWatchTest, BeginsTheListAgainWhenItsContinuationHasExpired) {
  machine_.next();
  EXPECT_FALSE(machine_.on_page("100", "p2"));
  machine_.next();
  machine_.on_status(410, std::nullopt);
  const auto step = machine_.next();
  EXPECT_EQ(step.target, "/api/v1/pods?limit=8");
  EXPECT_TRUE(step.first_page);
}

TEST_F(ListWatchTest, ListsAgainWhenTheWatchIsTooOldInEitherWayOfSayingSo) {
  sync();
  machine_.next();
  machine_.on_error_event();
  auto step = machine_.next();
  EXPECT_FALSE(step.watch);
  EXPECT_TRUE(step.first_page);
  EXPECT_TRUE(machine_.synced()) << "what is known stays in use";
  EXPECT_TRUE(machine_.on_page("900", ""));
  EXPECT_THAT(machine_.next().target, HasSubstr("resourceVersion=900&"));
  machine_.on_status(410, std::nullopt);
  EXPECT_FALSE(machine_.next().watch);
}

TEST_F(ListWatchTest, ListsWithPausesWhenEveryWatchIsTooOld) {
  sync();
  for (int n = 1; n <= 6; ++n) {
    EXPECT_TRUE(machine_.next().watch);
    machine_.on_error_event();
    expect_wait(n);
    EXPECT_TRUE(machine_.on_page("100", ""));
  }
}

TEST_F(ListWatchTest, ObeysRetryAfterWithinReason) {
  machine_.next();
  EXPECT_FALSE(machine_.on_page("100", "p2"));
  machine_.next();
  machine_.on_status(429, seconds(7));
  auto step = machine_.next();
  EXPECT_EQ(step.wait, seconds(7));
  EXPECT_THAT(step.target, HasSubstr("continue=p2")) << "the same is asked again";
  machine_.on_status(503, seconds(99999));
  EXPECT_EQ(machine_.next().wait, seconds(120));
  machine_.on_status(429, std::nullopt);
  EXPECT_LE(machine_.next().wait, milliseconds(600));
}

TEST_F(ListWatchTest, WatchesOnAfterStatusesThatPassAndListsAfterThoseThatDoNot) {
  for (const int status : {401, 403, 429, 500, 502, 503, 504}) {
    machine_ = make();
    sync();
    machine_.next();
    machine_.on_status(status, std::nullopt);
    EXPECT_TRUE(machine_.next().watch) << status;
  }
  for (const int status : {400, 404, 410, 422}) {
    machine_ = make();
    sync();
    machine_.next();
    machine_.on_status(status, std::nullopt);
    const auto step = machine_.next();
    EXPECT_FALSE(step.watch) << status;
    EXPECT_TRUE(step.first_page) << status;
    EXPECT_GE(step.wait, milliseconds(100)) << status;
  }
}

TEST_F(ListWatchTest, ListsAgainAfterWhatItCannotTrust) {
  sync();
  machine_.next();
  machine_.on_nonsense();
  expect_wait(1);
  EXPECT_FALSE(machine_.watching());
  EXPECT_TRUE(machine_.on_page("100", ""));
  machine_.next();
  machine_.on_error_event();
  EXPECT_FALSE(machine_.watching());
  machine_.next();
  EXPECT_FALSE(machine_.on_page("", "")) << "a list without a version cannot be watched from";
  EXPECT_FALSE(machine_.watching());
}

TEST_F(ListWatchTest, AsksForSmallerPagesUntilTheyFit) {
  for (const char* limit : {"limit=8", "limit=4", "limit=2", "limit=1", "limit=1"}) {
    EXPECT_THAT(machine_.next().target, HasSubstr(limit));
    machine_.on_page_too_large();
  }
}

TEST_F(ListWatchTest, SpreadsDifferentClientsOverTime) {
  ListWatch other("/api/v1/pods", ListWatch::Policy{}, 43);
  ListWatch one("/api/v1/pods", ListWatch::Policy{}, 44);
  other.next();
  one.next();
  other.on_lost();
  one.on_lost();
  EXPECT_NE(other.next().wait, one.next().wait);
}

}  // namespace
}  // namespace heddle::source::kubernetes
