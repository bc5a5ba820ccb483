// SPDX-License-Identifier: Apache-2.0
#include "agent/registry.h"

#include <gtest/gtest.h>

#include <set>

namespace heddle::agent {
namespace {

Sandbox sandbox(const std::string& id, std::uint64_t cookie, std::uint32_t pod_id = 0) {
  Sandbox out;
  out.facts.container_id = id;
  out.facts.netns_cookie = cookie;
  out.pod_id = pod_id;
  return out;
}

TEST(Registry, FindsASandboxByEachOfItsNames) {
  Registry registry(16);
  auto made = registry.insert(sandbox("a", 7));
  ASSERT_TRUE(made);
  ASSERT_TRUE(registry.assign_id(**made));
  EXPECT_EQ(registry.find("a"), *made);
  EXPECT_EQ(registry.find_cookie(7), *made);
  EXPECT_EQ(registry.find_pod((*made)->pod_id), *made);
  registry.erase("a");
  EXPECT_EQ(registry.find("a"), nullptr);
  EXPECT_EQ(registry.find_cookie(7), nullptr);
  EXPECT_EQ(registry.size(), 0u);
}

TEST(Registry, RefusesASecondOwnerOfANetnsOrAnId) {
  Registry registry(16);
  ASSERT_TRUE(registry.insert(sandbox("a", 7, 3)));
  EXPECT_FALSE(registry.insert(sandbox("a", 8)));
  EXPECT_FALSE(registry.insert(sandbox("b", 7)));
  EXPECT_FALSE(registry.insert(sandbox("b", 8, 3)));
  EXPECT_FALSE(registry.insert(sandbox("b", 8, 16))) << "an id beyond the map";
  EXPECT_TRUE(registry.insert(sandbox("b", 8, 4)));
}

TEST(Registry, HandsOutEveryIdOnceAndNeverZero) {
  Registry registry(5);
  std::set<std::uint32_t> ids;
  for (int i = 0; i < 4; ++i) {
    auto made = registry.insert(sandbox("s" + std::to_string(i), 100 + static_cast<std::uint64_t>(i)));
    ASSERT_TRUE(registry.assign_id(**made));
    ids.insert((*made)->pod_id);
  }
  EXPECT_EQ(ids, (std::set<std::uint32_t>{1, 2, 3, 4}));
  auto more = registry.insert(sandbox("more", 200));
  const auto refused = registry.assign_id(**more);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, make_error_code(Errc::exhausted));
  registry.erase("s2");
  EXPECT_TRUE(registry.assign_id(**more));
  EXPECT_EQ((*more)->pod_id, 3u);
}

TEST(Registry, LetsAFreedIdRest) {
  Registry registry(100);
  auto first = registry.insert(sandbox("a", 1));
  ASSERT_TRUE(registry.assign_id(**first));
  const auto id = (*first)->pod_id;
  registry.erase("a");
  auto second = registry.insert(sandbox("b", 2));
  ASSERT_TRUE(registry.assign_id(**second));
  EXPECT_NE((*second)->pod_id, id);
}

TEST(Registry, KnowsTheIdentitiesOfMeshedPodsOnly) {
  Registry registry(16);
  Sandbox made = sandbox("a", 1);
  made.spec.identity = "web.shop";
  auto inserted = registry.insert(std::move(made));
  EXPECT_FALSE(registry.has_identity("web.shop"));
  (*inserted)->spec.meshed = true;
  EXPECT_TRUE(registry.has_identity("web.shop"));
}

}  // namespace
}  // namespace heddle::agent
