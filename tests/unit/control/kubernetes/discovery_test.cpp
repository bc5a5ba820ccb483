// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/discovery.h"

#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

std::string groups(const std::vector<std::string>& versions) {
  std::string list;
  for (const auto& version : versions) {
    list += (list.empty() ? "" : ",") + std::string(R"({"groupVersion":"discovery.k8s.io/)") + version +
            R"(","version":")" + version + "\"}";
  }
  return R"({"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"version":"v1"}]},)"
         R"({"name":"discovery.k8s.io","versions":[)" +
         list + "]}]}";
}

std::string resources(const std::string& verbs) {
  return R"({"kind":"APIResourceList","resources":[{"name":"endpointslices/status","verbs":["get"]},)"
         R"({"name":"endpointslices","verbs":[)" +
         verbs + "]}]}";
}

const Resource v1{"/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice", "discovery.k8s.io/v1"};
const Resource v1beta1{"/apis/discovery.k8s.io/v1beta1/endpointslices", "EndpointSlice",
                       "discovery.k8s.io/v1beta1"};
const Resource endpoints{"/api/v1/endpoints", "Endpoints", "v1"};

TEST(Discovery, PrefersV1) {
  Discovery discovery;
  EXPECT_EQ(discovery.next(), "/apis");
  ASSERT_TRUE(discovery.on_answer(200, groups({"v1beta1", "v2", "v1"})));
  EXPECT_EQ(discovery.next(), "/apis/discovery.k8s.io/v1");
  ASSERT_TRUE(discovery.on_answer(200, resources(R"("get","list","watch")")));
  EXPECT_EQ(discovery.found(), v1);
}

TEST(Discovery, TakesV1beta1WhereV1IsNotServed) {
  Discovery discovery;
  ASSERT_TRUE(discovery.on_answer(200, groups({"v1beta1"})));
  ASSERT_TRUE(discovery.on_answer(200, resources(R"("list","watch")")));
  EXPECT_EQ(discovery.found(), v1beta1);
}

TEST(Discovery, TakesTheNextWhereTheKindOrAVerbIsMissing) {
  Discovery discovery;
  ASSERT_TRUE(discovery.on_answer(200, groups({"v1", "v1beta1"})));
  ASSERT_TRUE(discovery.on_answer(404, ""));
  EXPECT_EQ(discovery.next(), "/apis/discovery.k8s.io/v1beta1");
  ASSERT_TRUE(discovery.on_answer(200, resources(R"("get","list")")));
  EXPECT_EQ(discovery.found(), endpoints);
}

TEST(Discovery, TakesEndpointsWhereTheGroupIsMissing) {
  Discovery discovery;
  ASSERT_TRUE(discovery.on_answer(200, R"({"groups":[]})"));
  EXPECT_EQ(discovery.found(), endpoints);
}

TEST(Discovery, AsksTheSameAgainAfterAnAnswerThatDecidesNothing) {
  Discovery discovery;
  for (const int status : {401, 403, 404, 429, 500, 503})
    EXPECT_FALSE(discovery.on_answer(status, "")) << status;
  for (const char* body : {"", "[", "[]", R"({"groups":3})"})
    EXPECT_FALSE(discovery.on_answer(200, body)) << body;
  EXPECT_EQ(discovery.next(), "/apis");
  EXPECT_FALSE(discovery.found());
  ASSERT_TRUE(discovery.on_answer(200, groups({"v1"})));
  EXPECT_FALSE(discovery.on_answer(503, ""));
  EXPECT_FALSE(discovery.on_answer(200, R"({"resources":{}})"));
  EXPECT_EQ(discovery.next(), "/apis/discovery.k8s.io/v1");
}

}  // namespace
}  // namespace heddle::source::kubernetes
