// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/fair_ring.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace heddle::proxy {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Time = FairRing::Time;

// Members with work of a fixed cost, served for so long on a clock of the test's own.
struct Source {
  FairRing::Member member;
  Time each{0};
  Time used{0};
};

void serve(FairRing& ring, std::vector<Source*> sources, Time total) {
  for (Source* source : sources) ring.add(source->member);
  for (Time now{0}; now < total;) {
    FairRing::Member* next = ring.next();
    ASSERT_NE(next, nullptr);
    for (Source* source : sources) {
      if (&source->member != next) continue;
      ring.charge(*next, source->each);
      source->used += source->each;
      now += source->each;
    }
  }
  for (Source* source : sources) ring.remove(source->member);
}

double ratio(const Source& a, const Source& b) {
  return static_cast<double>(a.used.count()) / static_cast<double>(b.used.count());
}

TEST(FairRing, DividesTimeEquallyWhateverOneEventCosts) {
  FairRing ring;
  Source cheap, usual, costly;
  cheap.each = microseconds(1);
  usual.each = microseconds(10);
  costly.each = microseconds(700);
  serve(ring, {&cheap, &usual, &costly}, milliseconds(1000));
  EXPECT_NEAR(ratio(cheap, usual), 1.0, 0.05);
  EXPECT_NEAR(ratio(costly, usual), 1.0, 0.05);
}

TEST(FairRing, DividesTimeByWeight) {
  FairRing ring;
  Source heavy, light;
  heavy.each = light.each = microseconds(7);
  heavy.member.weight = 300;
  serve(ring, {&heavy, &light}, milliseconds(500));
  EXPECT_NEAR(ratio(heavy, light), 3.0, 0.15);
}

TEST(FairRing, ServesWhoSeldomHasWorkBeforeThoseWhoAlwaysHaveSome) {
  FairRing ring;
  std::array<FairRing::Member, 10> floods;
  FairRing::Member rare;
  for (auto& flood : floods) ring.add(flood);
  for (int i = 0; i < 1000; ++i) {
    FairRing::Member* next = ring.next();
    ASSERT_NE(next, nullptr);
    if (i % 100 == 99) {
      ring.add(rare);
      // At most the rest of the quantum that is being used comes before it.
      int before = 0;
      for (; ring.next() != &rare && before < 10; ++before) ring.charge(*ring.next(), FairRing::quantum / 2);
      EXPECT_LE(before, 2);
      ring.charge(rare, microseconds(10));
      ring.remove(rare);
      continue;
    }
    ring.charge(*next, FairRing::quantum / 5);
  }
}

TEST(FairRing, ComingAndGoingGainsNothing) {
  FairRing ring;
  FairRing::Member coming;
  std::array<FairRing::Member, 3> steady;
  Time its{0};
  Time theirs{0};
  for (auto& each : steady) ring.add(each);
  for (int i = 0; i < 100'000; ++i) {
    ring.add(coming);  // had no work for a moment, and has some again
    FairRing::Member* next = ring.next();
    ring.charge(*next, microseconds(10));
    if (next == &coming) {
      its += microseconds(10);
      ring.remove(coming);
    } else {
      theirs += microseconds(10);
    }
  }
  const double share = static_cast<double>(its.count()) / static_cast<double>((its + theirs).count());
  EXPECT_NEAR(share, 0.25, 0.03);
}

TEST(FairRing, ForgetsWhatIsOwedBeyondABound) {
  FairRing ring;
  Source slow, other;
  slow.each = milliseconds(500);
  other.each = microseconds(50);
  ring.add(slow.member);
  ring.charge(*ring.next(), slow.each);
  ring.add(other.member);
  int before = 0;
  while (ring.next() != &slow.member && before < 1000) {
    ring.charge(*ring.next(), other.each);
    ++before;
  }
  EXPECT_GE(before, 30) << "what it used counts";
  EXPECT_LE(before, 50);
  ring.remove(slow.member);
  ring.remove(other.member);
  EXPECT_EQ(ring.next(), nullptr);
}

TEST(FairRing, AloneOwesNobody) {
  FairRing ring;
  FairRing::Member only;
  ring.add(only);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(ring.next(), &only);
    EXPECT_GT(only.credit(), Time{0});
    ring.charge(only, milliseconds(10));
  }
  EXPECT_FALSE(ring.contended());
  FairRing::Member second;
  ring.add(second);
  EXPECT_TRUE(ring.contended());
}

}  // namespace
}  // namespace heddle::proxy
