// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

const Resource pods{"/api/v1/pods", "Pod", "v1"};

// An item of a list: it says neither kind nor apiVersion.
Value pod(const std::string& name, const std::string& ip, const std::string& version = "1") {
  return read_json(R"({"metadata":{"name":")" + name + R"(","namespace":"shop","resourceVersion":")" +
                   version + R"("},"status":{"podIP":")" + ip + R"("},"unknown":[{}]})")
      ->front();
}

Objects objects_of(const Store& store) {
  Objects out;
  store.append_to(out);
  return out;
}

TEST(Store, KeepsWhatListsAndWatchesTell) {
  Store store;
  EXPECT_TRUE(store.put(pods, pod("a", "10.0.0.1")).value());
  EXPECT_TRUE(store.put(pods, pod("b", "10.0.0.2")).value());
  EXPECT_TRUE(store.put(pods, pod("a", "10.0.0.3")).value());
  ASSERT_EQ(objects_of(store).pods.size(), 2U);
  EXPECT_EQ(objects_of(store).pods[0]->ips[0].to_string(), "10.0.0.3");
  EXPECT_TRUE(store.remove(pod("a", "10.0.0.3")));
  EXPECT_FALSE(store.remove(pod("a", "10.0.0.3")));
  EXPECT_EQ(objects_of(store).pods.size(), 1U);
}

TEST(Store, KeepsTheAddressOfAnObjectWhoseReadPartsAreTheSame) {
  Store store;
  ASSERT_TRUE(store.put(pods, pod("a", "10.0.0.1", "1")).value());
  const auto before = objects_of(store).pods[0];
  EXPECT_FALSE(store.put(pods, pod("a", "10.0.0.1", "2")).value());
  EXPECT_EQ(objects_of(store).pods[0], before);
}

TEST(Store, ForgetsWhatAListDoesNotName) {
  Store store;
  ASSERT_TRUE(store.put(pods, pod("a", "10.0.0.1")).value());
  ASSERT_TRUE(store.put(pods, pod("b", "10.0.0.2")).value());
  store.begin_list();
  ASSERT_FALSE(store.put(pods, pod("b", "10.0.0.2")).value());
  EXPECT_EQ(objects_of(store).pods.size(), 2U) << "the list is not complete";
  store.begin_list();  // from the start again
  ASSERT_FALSE(store.put(pods, pod("a", "10.0.0.1")).value());
  EXPECT_TRUE(store.end_list());
  ASSERT_EQ(objects_of(store).pods.size(), 1U);
  EXPECT_EQ(objects_of(store).pods[0]->meta.name, "a");
}

TEST(Store, KeepsTheLastGoodVersionOfAnObjectItCannotDecode) {
  Store store;
  ASSERT_TRUE(store.put(pods, pod("a", "10.0.0.1")).value());
  const auto refused = store.put(pods, pod("a", "nowhere"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().detail, ::testing::StartsWith("Pod shop/a: "));
  EXPECT_EQ(store.broken(), 1U);
  EXPECT_EQ(objects_of(store).pods[0]->ips[0].to_string(), "10.0.0.1");
  EXPECT_FALSE(store.put(pods, pod("a", "10.0.0.1")).value());
  EXPECT_EQ(store.broken(), 0U);
}

TEST(Store, ReplacesAllTheSlicesThatOneEndpointsObjectBecame) {
  const Resource endpoints{"/api/v1/endpoints", "Endpoints", "v1"};
  const auto object = [](const std::string& subsets) {
    return read_json(R"({"metadata":{"name":"web","namespace":"shop"},"subsets":[)" + subsets + "]}")
        ->front();
  };
  const std::string one = R"({"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]})";
  const std::string two = R"({"addresses":[{"ip":"10.0.0.2"}],"ports":[{"port":81}]})";
  Store store;
  ASSERT_TRUE(store.put(endpoints, object(one + "," + two)).value());
  EXPECT_EQ(objects_of(store).slices.size(), 2U);
  EXPECT_TRUE(store.put(endpoints, object(one)).value());
  EXPECT_EQ(objects_of(store).slices.size(), 1U);
  EXPECT_TRUE(store.remove(object("")));
  EXPECT_EQ(objects_of(store).size(), 0U);
}

TEST(Store, ReadsNodeAndZoneOfAnOlderSlice) {
  const Resource slices{"", "EndpointSlice", "discovery.k8s.io/v1beta1"};
  Store store;
  ASSERT_TRUE(
      store
          .put(slices,
               read_json(R"({"metadata":{"name":"web-1","labels":{"kubernetes.io/service-name":"web"}},
      "endpoints":[{"addresses":["10.0.0.1"],"topology":{"kubernetes.io/hostname":"n1",
      "topology.kubernetes.io/zone":"z1"}}],"ports":[{"port":80}]})")
                   ->front())
          .value());
  const auto slice = objects_of(store).slices.at(0);
  EXPECT_EQ(slice->endpoints.at(0).node_name, "n1");
  EXPECT_EQ(slice->endpoints.at(0).zone, "z1");
}

}  // namespace
}  // namespace heddle::source::kubernetes
