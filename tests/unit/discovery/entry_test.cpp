// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/entry.h"

#include <gtest/gtest.h>

namespace heddle::proxy {
namespace {

using State = Destination::State;
using Kind = EndpointsUpdate::Kind;

const SocketAddress vip = SocketAddress::parse("10.96.0.10:80").value();

EndpointInfo pod(int n, const std::string& identity = "") {
  EndpointInfo info;
  info.address = {IpAddress::v4(0x0a010000u + static_cast<unsigned>(n)), 8080};
  info.identity = identity;
  return info;
}

ProfileUpdate service(bool opaque = false) {
  ProfileUpdate update;
  update.name = "web.shop.svc.cluster.local";
  update.opaque = opaque;
  return update;
}

EndpointsUpdate add(std::vector<EndpointInfo> set) {
  EndpointsUpdate update;
  update.added = std::move(set);
  update.labels = {{"namespace", "shop"}};
  return update;
}
EndpointsUpdate remove(int n) {
  EndpointsUpdate update;
  update.kind = Kind::remove;
  update.removed = {pod(n).address};
  return update;
}
EndpointsUpdate none(bool exists) {
  EndpointsUpdate update;
  update.kind = Kind::none;
  update.exists = exists;
  return update;
}

TEST(Entry, IgnoresAKindOfUpdateItDoesNotKnow) {
  Entry e(vip);
  e.profile(service());
  EndpointsUpdate unknown;
  unknown.kind = Kind::other;
  e.endpoints(unknown);
  EXPECT_EQ(e.resolution().state, State::pending);
  e.endpoints(add({pod(1)}));
  e.endpoints_began();
  e.endpoints(unknown);
  EXPECT_EQ(e.resolution().state, State::service) << "nothing was said about the service's existence";
  EXPECT_EQ(e.resolution().endpoints.size(), 1u);
}

TEST(Entry, IsPendingUntilControlAnswers) {
  Entry e(vip);
  EXPECT_EQ(e.resolution().state, State::pending);
  e.profile_ended(StreamEnd::broken);
  EXPECT_EQ(e.resolution().state, State::pending);
}

TEST(Entry, IsAServiceOnceItsEndpointsAreKnown) {
  Entry e(vip);
  e.profile(service());
  EXPECT_EQ(e.wanted_path(), "web.shop.svc.cluster.local:80");
  EXPECT_EQ(e.resolution().state, State::pending);
  e.endpoints(add({pod(1), pod(2)}));
  const auto r = e.resolution();
  EXPECT_EQ(r.state, State::service);
  EXPECT_EQ(r.authority, "web.shop.svc.cluster.local:80");
  EXPECT_EQ(r.endpoints.size(), 2u);
  EXPECT_EQ(r.labels.at("namespace"), "shop");
}

TEST(Entry, SaysEachLabelOnce) {
  Entry e(vip);
  auto profile = service();
  profile.labels = {{"namespace", "shop"}, {"service", "web"}};
  e.profile(profile);
  auto one = pod(1);
  one.labels = {{"namespace", "shop"}, {"pod", "web-1"}};
  e.endpoints(add({one}));
  const auto r = e.resolution();
  EXPECT_EQ(r.labels, (std::map<std::string, std::string>{{"namespace", "shop"}, {"service", "web"}}));
  EXPECT_EQ(r.endpoints[0].labels, (std::map<std::string, std::string>{{"pod", "web-1"}}));
  ProfileUpdate direct;
  direct.endpoint = one;
  direct.labels = {{"namespace", "shop"}};
  e.profile(direct);
  EXPECT_TRUE(e.resolution().labels.empty());
  EXPECT_EQ(e.resolution().endpoint->labels, one.labels);
}

TEST(Entry, FollowsAddAndRemove) {
  Entry e(vip);
  e.profile(service());
  e.endpoints(add({pod(1), pod(2)}));
  e.endpoints(remove(1));
  e.endpoints(add({pod(3)}));
  e.endpoints(add({pod(3, "now.meshed")}));
  const auto r = e.resolution();
  ASSERT_EQ(r.endpoints.size(), 2u);
  EXPECT_EQ(r.endpoints[0].address, pod(2).address);
  EXPECT_EQ(r.endpoints[1].identity, "now.meshed");
}

TEST(Entry, KeepsTheSetWhenTheStreamBreaksAndReplacesItAfterwards) {
  Entry e(vip);
  e.profile(service());
  e.endpoints(add({pod(1), pod(2)}));
  e.endpoints_ended(StreamEnd::broken);
  e.profile_ended(StreamEnd::broken);
  EXPECT_EQ(e.resolution().endpoints.size(), 2u);
  e.endpoints_began();
  EXPECT_EQ(e.resolution().endpoints.size(), 2u);
  e.profile(service());
  e.endpoints(add({pod(3)}));
  ASSERT_EQ(e.resolution().endpoints.size(), 1u);
  EXPECT_EQ(e.resolution().endpoints[0].address, pod(3).address);
}

TEST(Entry, IgnoresARemoveBeforeTheFirstAdd) {
  Entry e(vip);
  e.profile(service());
  e.endpoints(add({pod(1)}));
  e.endpoints_began();
  e.endpoints(remove(1));
  EXPECT_EQ(e.resolution().endpoints.size(), 1u);
}

TEST(Entry, TellsAnEmptyServiceFromAMissingOne) {
  Entry e(vip);
  e.profile(service());
  e.endpoints(none(true));
  EXPECT_EQ(e.resolution().state, State::service);
  EXPECT_TRUE(e.resolution().endpoints.empty());
  e.endpoints(none(false));
  EXPECT_EQ(e.resolution().state, State::not_found);
  EXPECT_FALSE(e.resolution().unavailable);
  e.endpoints(add({pod(1)}));
  EXPECT_EQ(e.resolution().state, State::service);
}

TEST(Entry, IsNotFoundWhenGetSaysSo) {
  Entry e(vip);
  e.profile(service());
  e.endpoints_ended(StreamEnd::not_found);
  EXPECT_EQ(e.resolution().state, State::not_found);
}

TEST(Entry, IsTheAddressItselfWhenControlDoesNotKnowIt) {
  for (const auto end : {StreamEnd::not_found, StreamEnd::invalid}) {
    Entry e(vip);
    e.profile_ended(end);
    const auto r = e.resolution();
    EXPECT_EQ(r.state, State::endpoint);
    ASSERT_TRUE(r.endpoint);
    EXPECT_EQ(r.endpoint->address, vip);
    EXPECT_EQ(r.endpoint->identity, "");
    EXPECT_EQ(r.authority, "10.96.0.10:80");
  }
}

TEST(Entry, IsTheAddressItselfForAnEmptyProfile) {
  Entry e(vip);
  ProfileUpdate update;
  update.opaque = true;
  e.profile(update);
  EXPECT_EQ(e.resolution().state, State::endpoint);
  EXPECT_EQ(e.resolution().endpoint->address, vip);
  EXPECT_TRUE(e.resolution().opaque);
}

TEST(Entry, IsAPodWithItsIdentity) {
  Entry e(pod(7).address);
  ProfileUpdate update;
  update.endpoint = pod(7, "web.shop");
  update.endpoint->hint = ProtocolHint::opaque;
  e.profile(update);
  const auto r = e.resolution();
  EXPECT_EQ(r.state, State::endpoint);
  EXPECT_EQ(r.endpoint->identity, "web.shop");
  EXPECT_TRUE(r.opaque);
}

TEST(Entry, FailsClosedWhenControlHasNeverAnswered) {
  Entry e(vip);
  e.overdue();
  EXPECT_EQ(e.resolution().state, State::not_found);
  EXPECT_TRUE(e.resolution().unavailable);
  e.profile(service());
  e.endpoints(add({pod(1)}));
  EXPECT_EQ(e.resolution().state, State::service);
  EXPECT_FALSE(e.resolution().unavailable);
}

TEST(Entry, IsAnEmptyServiceWhenControlIsSilentAboutItsEndpoints) {
  Entry e(vip);
  e.profile(service());
  e.overdue();
  EXPECT_EQ(e.resolution().state, State::service);
  EXPECT_TRUE(e.resolution().endpoints.empty());
}

TEST(Entry, ForgetsEverythingOfAServiceThatMadeWayForAnother) {
  Entry e(vip);
  e.profile(service());
  e.overdue();
  e.endpoints(add({pod(1)}));
  auto other = service();
  other.name = "api.shop.svc.cluster.local";
  e.profile(other);
  EXPECT_EQ(e.resolution().state, State::pending);
  EXPECT_EQ(e.wanted_path(), "api.shop.svc.cluster.local:80");
}

TEST(Entry, StaysTheSameServiceWhenOnlyItsProfileChanges) {
  Entry e(vip);
  e.profile(service());
  e.endpoints(add({pod(1)}));
  e.profile(service(true));
  EXPECT_EQ(e.resolution().state, State::service);
  EXPECT_TRUE(e.resolution().opaque);
  EXPECT_EQ(e.resolution().endpoints.size(), 1u);
}

}  // namespace
}  // namespace heddle::proxy
