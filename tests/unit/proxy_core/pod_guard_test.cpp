// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/pod_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/fd.h"

namespace heddle::proxy {
namespace {

constexpr auto descriptors_bit = 1U << static_cast<unsigned>(Limit::descriptors);
constexpr auto memory_bit = 1U << static_cast<unsigned>(Limit::memory);

struct Guarded : testing::Test {
  Guarded() {
    for (std::uint32_t id = 1; id <= 3; ++id) {
      Pod& pod = pods.emplace_back();
      pod.id = id;
      pod.netns_cookie = 100 + id;
      pod.ns = "shop";
      pod.name = "web-" + std::to_string(id);
      pod.load->connections = 10;
    }
  }
  void look(std::chrono::milliseconds later = PodGuard::period) {
    shed.clear();
    guard.look(now += later);
  }
  PodGuard::Hooks hooks() {
    PodGuard::Hooks hooks;
    hooks.for_each_pod = [this](const std::function<void(const Pod&)>& visit) {
      for (const Pod& pod : pods) visit(pod);
    };
    hooks.descriptors = [this] { return descriptors; };
    hooks.memory = [this] { return memory; };
    hooks.shed = [this](std::uint32_t id, std::size_t resets) { shed.emplace_back(id, resets); };
    return hooks;
  }
  unsigned shedding(std::size_t i) const { return pods[i].load->shedding; }

  Loop loop;
  std::vector<Pod> pods;
  Ceiling descriptors{100, 1000};
  Ceiling memory{100, 1000};
  std::vector<std::pair<std::uint32_t, std::size_t>> shed;
  Loop::Clock::time_point now{};
  PodGuard guard{loop, hooks()};
};

TEST_F(Guarded, ThePodWithMostConnectionsShedsWhenDescriptorsGetShort) {
  pods[1].load->connections = 400;
  look();
  EXPECT_TRUE(shed.empty());
  EXPECT_EQ(guard.next_look(), PodGuard::period);
  descriptors.used = 600;
  look();
  EXPECT_EQ(guard.next_look(), PodGuard::short_period) << "a burst must not get past it";
  descriptors.used = 900;
  look();
  ASSERT_EQ(shed.size(), 1u);
  EXPECT_EQ(shed[0], std::pair(2U, std::size_t{0})) << "what it does not need is enough at first";
  EXPECT_EQ(shedding(1), descriptors_bit);
  EXPECT_EQ(shedding(0), 0u);
  EXPECT_EQ(pods[1].load->limited[static_cast<std::size_t>(Limit::descriptors)], 1u);
  descriptors.used = 990;
  look();
  ASSERT_EQ(shed.size(), 1u);
  EXPECT_EQ(shed[0].first, 2u);
  EXPECT_GT(shed[0].second, 50u);
  descriptors.used = 300;
  look();
  EXPECT_EQ(shedding(1), 0u);
  EXPECT_TRUE(shed.empty());
}

TEST_F(Guarded, RequestsToAppsCountAsDescriptorsToo) {
  pods[0].load->requests = 300;  // over few connections between proxies, to an app that speaks HTTP/1
  descriptors.used = 900;
  look();
  EXPECT_EQ(shedding(0), descriptors_bit);
}

TEST_F(Guarded, ThePodThatHoldsMostShedsWhenMemoryGetsShort) {
  pods[0].load->connections = 100;
  pods[2].load->buffered_bytes = 50'000'000;
  memory.used = 870;
  look();
  EXPECT_EQ(shedding(2), memory_bit);
  EXPECT_EQ(shedding(0), 0u);
}

TEST_F(Guarded, ReportsALimitAtOnceAndThenSeldom) {
  LimitReport report;
  Pod& pod = pods[0];
  EXPECT_TRUE(report.look(pod, now).empty());
  pod.load->count(Limit::requests);
  auto lines = report.look(pod, now);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].limit, Limit::requests);
  EXPECT_EQ(lines[0].times, 1u);
  for (int i = 0; i < 5; ++i) pod.load->count(Limit::requests);
  EXPECT_TRUE(report.look(pod, now + std::chrono::seconds(1)).empty());
  lines = report.look(pod, now + LimitReport::pause);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].times, 5u);
  EXPECT_TRUE(report.look(pod, now + 2 * LimitReport::pause).empty()) << "nothing happened since";
}

TEST(Ceilings, KnowTheProcessDescriptorsAndMemory) {
  const Ceilings ceilings(std::uint64_t{1} << 40);
  const Ceiling before = ceilings.descriptors();
  std::vector<Fd> more;
  for (int i = 0; i < 20; ++i) more.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Ceiling after = ceilings.descriptors();
  EXPECT_EQ(after.used, before.used + 20);
  EXPECT_GT(after.limit, after.used);
  const Ceiling memory = ceilings.memory();
  EXPECT_EQ(memory.limit, std::uint64_t{1} << 40);
  EXPECT_GT(memory.used, 1024u * 1024);
  EXPECT_LT(memory.used, std::uint64_t{1} << 40);
}

}  // namespace
}  // namespace heddle::proxy
