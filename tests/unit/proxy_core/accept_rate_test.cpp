// SPDX-License-Identifier: Apache-2.0
#include "proxy/pods/accept_rate.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace heddle::proxy {
namespace {

using std::chrono::milliseconds;
using Time = AcceptRate::Time;

int take_all(AcceptRate& rate, Time now, std::uint32_t per_second) {
  int taken = 0;
  while (taken < 1'000'000 && rate.take(now, per_second)) ++taken;
  return taken;
}

TEST(AcceptRate, AllowsASecondsWorthAtOnceAndThenItsRate) {
  AcceptRate rate;
  Time now = std::chrono::hours(100);
  EXPECT_EQ(take_all(rate, now, 1000), 1000);
  EXPECT_EQ(take_all(rate, now + milliseconds(100), 1000), 100);
  EXPECT_EQ(take_all(rate, now + milliseconds(100), 1000), 0);
  EXPECT_EQ(take_all(rate, now + std::chrono::hours(1), 1000), 1000) << "no more than a second's is kept";
}

TEST(AcceptRate, NamesAWaitAfterWhichThereIsSomeAgain) {
  for (const std::uint32_t per_second : {1U, 3U, 100U, 10'000U, 1'000'000'000U}) {
    AcceptRate rate;
    Time now = std::chrono::hours(100);
    for (int i = 0; i < 5; ++i) {
      take_all(rate, now, std::min(per_second, 10'000U));
      const Time wait = rate.wait(now, per_second);
      EXPECT_GE(wait, milliseconds(1));
      EXPECT_LE(wait, std::chrono::seconds(1));
      now += wait;
      EXPECT_TRUE(rate.take(now, per_second)) << per_second;
    }
  }
}

TEST(AcceptRate, TakesBackWhatWasNotNeeded) {
  AcceptRate rate;
  const Time now = std::chrono::hours(100);
  EXPECT_EQ(take_all(rate, now, 10), 10);
  rate.give_back(10);
  EXPECT_EQ(take_all(rate, now, 10), 1);
}

TEST(AcceptRate, FollowsAChangedLimit) {
  AcceptRate rate;
  const Time now = std::chrono::hours(100);
  EXPECT_EQ(take_all(rate, now, 10), 10);
  EXPECT_EQ(take_all(rate, now + milliseconds(500), 100), 50);
}

TEST(AcceptRate, IsExactWhenWorkersShareIt) {
  AcceptRate rate;
  std::atomic<int> taken{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] { taken += take_all(rate, std::chrono::hours(100), 20'000); });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(taken, 20'000);
}

}  // namespace
}  // namespace heddle::proxy
