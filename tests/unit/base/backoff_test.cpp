// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

#include <gtest/gtest.h>

namespace heddle {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUntilItsMaximumAndStartsAgainAfterReset) {
  Backoff backoff({.min = milliseconds(100), .max = milliseconds(400), .jitter = 0});
  EXPECT_EQ(backoff.next(), milliseconds(100));
  EXPECT_EQ(backoff.next(), milliseconds(200));
  EXPECT_EQ(backoff.next(), milliseconds(400));
  EXPECT_EQ(backoff.next(), milliseconds(400));
  backoff.reset();
  EXPECT_EQ(backoff.next(), milliseconds(100));
}

TEST(Backoff, LengthensAWaitByAtMostTheJitter) {
  Backoff backoff({.min = milliseconds(1000), .max = milliseconds(1000), .jitter = 0.5}, 42);
  bool varied = false;
  for (int i = 0; i < 100; ++i) {
    const auto wait = backoff.next();
    EXPECT_GE(wait, milliseconds(1000));
    EXPECT_LE(wait, milliseconds(1500));
    varied = varied || wait != milliseconds(1000);
  }
  EXPECT_TRUE(varied);
}

}  // namespace
}  // namespace heddle
