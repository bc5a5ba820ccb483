// SPDX-License-Identifier: Apache-2.0
#include "proxy/balance/balancer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <queue>

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;
using Clock = Endpoint::Clock;

EndpointInfo info(int n) {
  EndpointInfo i;
  i.address = {IpAddress::v4(0x0a000000u + static_cast<unsigned>(n)), 80};
  return i;
}

std::vector<EndpointInfo> infos(int n) {
  std::vector<EndpointInfo> set;
  for (int i = 1; i <= n; ++i) set.push_back(info(i));
  return set;
}

const Clock::time_point start = Clock::time_point{} + 1h;

TEST(Balancer, PicksNothingFromAnEmptySet) {
  Balancer b({}, 1);
  EXPECT_EQ(b.pick_for_request(start), nullptr);
  EXPECT_EQ(b.pick_for_connection(), nullptr);
}

TEST(Balancer, PicksTheOnlyEndpointEvenWhenItIsToBeAvoided) {
  Balancer b({}, 1);
  b.update(infos(1));
  const auto only = b.endpoints()[0];
  EXPECT_EQ(b.pick_for_request(start, only.get()), only);
  EXPECT_EQ(b.pick_for_connection(only.get()), only);
}

TEST(Balancer, NeverPicksTheAvoidedOneWhereThereIsAChoice) {
  for (int n = 2; n < 6; ++n) {
    Balancer b({}, 7);
    b.update(infos(n));
    for (int avoided = 0; avoided < n; ++avoided) {
      const auto* avoid = b.endpoints()[static_cast<std::size_t>(avoided)].get();
      std::map<const Endpoint*, int> seen;
      for (int i = 0; i < 200; ++i) ++seen[b.pick_for_connection(avoid).get()];
      EXPECT_EQ(seen.count(avoid), 0u);
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(n - 1));
    }
  }
}

TEST(Balancer, SpreadsIdleEndpointsEvenly) {
  Balancer b({}, 42);
  b.update(infos(5));
  std::map<const Endpoint*, int> seen;
  for (int i = 0; i < 50'000; ++i) ++seen[b.pick_for_connection().get()];
  for (const auto& [e, count] : seen) EXPECT_NEAR(count, 10'000, 500) << e->info.address.to_string();
}

// The default of 30 ms is far more than what most endpoints take: one that was never tried must not stay
// untried.
TEST(Balancer, TriesTheEndpointBesideOneThatIsFasterThanTheDefault) {
  Balancer b({}, 1);
  b.update(infos(2));
  std::map<const Endpoint*, int> seen;
  for (auto now = start; now < start + 5min; now += 100ms) {
    const auto picked = b.pick_for_request(now);
    ++seen[picked.get()];
    b.begin(*picked);
    b.end(*picked, 1ms, now + 1ms);
  }
  ASSERT_EQ(seen.size(), 2u) << "one of the two was never tried";
  for (const auto& [e, count] : seen) EXPECT_GT(count, 500) << e->info.address.to_string();
}

TEST(Balancer, CostsTheDefaultRoundTripBeforeTheFirstSample) {
  Balancer b({}, 1);
  b.update(infos(1));
  auto& e = *b.endpoints()[0];
  EXPECT_DOUBLE_EQ(b.cost(e, start), 30e6);
  b.begin(e);
  b.begin(e);
  EXPECT_DOUBLE_EQ(b.cost(e, start), 90e6);
}

TEST(Balancer, RisesAtOnceToAPeak) {
  Balancer b({}, 1);
  b.update(infos(1));
  auto& e = *b.endpoints()[0];
  b.begin(e);
  b.end(e, 500ms, start);
  EXPECT_DOUBLE_EQ(b.cost(e, start), 500e6);
  EXPECT_EQ(e.pending, 0u);
}

TEST(Balancer, FadesExponentiallyAfterAPeak) {
  Balancer b({}, 1);
  b.update(infos(1));
  auto& e = *b.endpoints()[0];
  b.begin(e);
  b.end(e, 500ms, start);
  EXPECT_NEAR(b.cost(e, start + 10s), 500e6 * std::exp(-1), 1);
  b.begin(e);
  b.end(e, 10ms, start + 10s);
  EXPECT_NEAR(b.cost(e, start + 10s), 500e6 * std::exp(-1) + 10e6 * (1 - std::exp(-1)), 1);
}

// An endpoint that takes requests and answers none: as its estimate fades it must not become the cheapest.
TEST(Balancer, LeavesASilentEndpointAlone) {
  Balancer b({}, 11);
  b.update(infos(2));
  const auto silent = b.endpoints()[0];
  const auto lively = b.endpoints()[1];
  int to_silent = 0;
  auto now = start;
  for (int i = 0; i < 3000; ++i, now += 20ms) {
    const auto picked = b.pick_for_request(now, i == 0 ? lively.get() : nullptr);
    b.begin(*picked);
    if (picked == lively) {
      b.end(*picked, 5ms, now + 5ms);
    } else {
      ++to_silent;
    }
  }
  EXPECT_LE(to_silent, 5);
  // When it answers after all it is taken at its word, and comes back as that fades.
  for (int left = static_cast<int>(silent->pending); left > 0; --left) b.end(*silent, 1s, now);
  EXPECT_NEAR(b.cost(*silent, now + 10s) / (1e9 * std::exp(-1)), 1, 0.01);
}

TEST(Balancer, CountsRequestsInFlightHoweverLongItWasIdle) {
  Balancer b({}, 5);
  b.update(infos(2));
  for (const auto& each : b.endpoints()) {
    b.begin(*each);
    b.end(*each, 1ms, start);
  }
  const auto later = start + 24h;
  for (int i = 0; i < 100; ++i) b.begin(*b.pick_for_request(later));
  EXPECT_NEAR(b.endpoints()[0]->pending, 50, 1);
}

TEST(Balancer, NeverLowersTheEstimateBelowALaterPeak) {
  // Property: whatever the history, right after a sample the estimate is at least that sample times what it
  // weighs and never above the largest sample (or the default).
  std::uint64_t x = 99;
  const auto random = [&] { return x = x * 6364136223846793005u + 1442695040888963407u, x >> 33; };
  Balancer b({}, 3);
  b.update(infos(1));
  auto& e = *b.endpoints()[0];
  auto now = start;
  double largest = 30e6;
  for (int i = 0; i < 10'000; ++i) {
    now += std::chrono::microseconds(random() % 200'000);
    const auto rtt = std::chrono::microseconds(random() % 300'000);
    const double before = b.cost(e, now);
    b.begin(e);
    b.end(e, rtt, now);
    const double sample = static_cast<double>(std::chrono::nanoseconds(rtt).count());
    largest = std::max(largest, sample);
    const double after = b.cost(e, now);
    ASSERT_LE(after, largest + 1);
    ASSERT_GE(after, std::min(before, sample) - 1);
    if (sample >= before) {
      ASSERT_DOUBLE_EQ(after, sample);
    }
  }
}

TEST(Balancer, KeepsTheLoadOfUnchangedEndpoints) {
  Balancer b({}, 1);
  b.update(infos(3));
  const auto kept = b.endpoints()[1];
  const auto gone = b.endpoints()[0];
  const auto changed = b.endpoints()[2];
  b.begin(*kept);
  kept->connections = 4;
  auto other = info(3);
  other.identity = "web.shop.serviceaccount.identity.heddle.cluster.local";
  b.update({info(2), other, info(9)});
  ASSERT_EQ(b.endpoints().size(), 3u);
  EXPECT_EQ(b.endpoints()[0], kept);
  EXPECT_EQ(kept->pending, 1u);
  EXPECT_EQ(kept->connections, 4u);
  EXPECT_FALSE(kept->removed);
  EXPECT_TRUE(gone->removed);
  EXPECT_TRUE(changed->removed);
  EXPECT_EQ(b.endpoints()[1]->info.identity, other.identity);
  EXPECT_FALSE(b.endpoints()[1]->removed);
}

TEST(Balancer, TakesAnAddressNamedTwiceOnce) {
  Balancer b({}, 1);
  b.update({info(1), info(1), info(2)});
  EXPECT_EQ(b.endpoints().size(), 2u);
}

TEST(Balancer, PrefersTheEndpointWithFewerConnections) {
  Balancer b({}, 1);
  b.update(infos(2));
  b.endpoints()[0]->connections = 3;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(b.pick_for_connection(), b.endpoints()[1]);
}

// A closed loop of clients over simulated servers: the share of each.
std::map<std::uint16_t, int> simulate(const std::vector<std::chrono::milliseconds>& latency, int clients,
                                      int requests) {
  Balancer b({}, 5);
  std::vector<EndpointInfo> set;
  for (std::size_t i = 0; i < latency.size(); ++i) {
    auto e = info(1);
    e.address.port = static_cast<std::uint16_t>(i);
    set.push_back(e);
  }
  b.update(set);
  struct Event {
    Clock::time_point at;
    Clock::time_point began;
    EndpointRef endpoint;
    bool operator<(const Event& other) const { return at > other.at; }
  };
  std::priority_queue<Event> events;
  std::map<std::uint16_t, int> share;
  const auto send = [&](Clock::time_point now) {
    auto e = b.pick_for_request(now);
    b.begin(*e);
    ++share[e->info.address.port];
    events.push({now + latency[e->info.address.port], now, e});
  };
  for (int i = 0; i < clients; ++i) send(start + std::chrono::microseconds(i));
  for (int i = 0; i < requests; ++i) {
    const auto event = events.top();
    events.pop();
    b.end(*event.endpoint, event.at - event.began, event.at);
    send(event.at);
  }
  return share;
}

TEST(Balancer, GivesASlowEndpointAFractionOfItsFairShare) {
  const auto share = simulate({2ms, 2ms, 200ms}, 8, 20'000);
  const int slow = share.count(2) ? share.at(2) : 0;
  EXPECT_LT(slow, 20'000 / 3 / 10) << "slow " << slow;
  EXPECT_GT(slow, 0);
  EXPECT_NEAR(share.at(0), share.at(1), 2'000);
}

TEST(Balancer, GivesEquallyFastEndpointsEqualShares) {
  const auto share = simulate({5ms, 5ms, 5ms, 5ms}, 16, 40'000);
  for (const auto& [port, count] : share) EXPECT_NEAR(count, 10'000, 1'000) << port;
}

}  // namespace
}  // namespace heddle::proxy
