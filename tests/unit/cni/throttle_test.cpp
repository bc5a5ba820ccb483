// SPDX-License-Identifier: Apache-2.0
#include "cni/throttle.h"

#include <gtest/gtest.h>

namespace heddle::cni {
namespace {

using namespace std::chrono_literals;

TEST(Throttle, RestoresAFewTimesAtOnceAndThenEverLater) {
  Throttle throttle;
  Throttle::Time now{};
  for (int i = 0; i < Throttle::free_restores; ++i) EXPECT_EQ(throttle.restored(now += 1s), 0ms);
  auto last = 0ms;
  for (int i = 0; i < 10; ++i) {
    const auto wait = throttle.restored(now += last + 1s);
    EXPECT_GE(wait, 1s);
    EXPECT_LE(wait, 66s);
    EXPECT_GE(wait + 7s, last);
    last = wait;
  }
  EXPECT_GE(last, 60s);
}

TEST(Throttle, ForgetsAfterAQuietWhile) {
  Throttle throttle;
  Throttle::Time now{};
  for (int i = 0; i < 6; ++i) (void)throttle.restored(now += 1s);
  EXPECT_EQ(throttle.restored(now += 200s), 0ms);
  EXPECT_EQ(throttle.count(), 1);
}

}  // namespace
}  // namespace heddle::cni
