// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/topics.h"

#include <gtest/gtest.h>

#include "control/discovery/messages.h"
#include "world.h"

namespace heddle::control {
namespace {

using test::both;
using test::shop;
using test::snapshot_of;

template <class Message>
struct Recorder : Subscriber<Message> {
  void deliver(std::shared_ptr<const Message> message) override { messages.push_back(std::move(message)); }
  void end() override { ended = true; }
  std::vector<std::shared_ptr<const Message>> messages;
  bool ended = false;
};

const EndpointQuestion web{{"shop", "web", "", 80}, "n1"};
const auto accept = [](const EndpointSet&) { return true; };

TEST(Topics, DeliversTheWholeAnswerThenOnlyChanges) {
  EndpointTopics topics({}, snapshot_of(shop(both())));
  Recorder<destination_api::Update> stream;
  ASSERT_TRUE(topics.add(web, stream, accept));
  ASSERT_EQ(stream.messages.size(), 1U);
  EXPECT_EQ(stream.messages[0]->add().addrs_size(), 2);
  EXPECT_EQ(stream.messages[0]->add().metric_labels().at("service"), "web");

  topics.publish(snapshot_of(shop(both()), 2));
  EXPECT_EQ(stream.messages.size(), 1U) << "the same objects read again: nothing to say";

  topics.publish(snapshot_of(shop(test::web_2), 3));
  ASSERT_EQ(stream.messages.size(), 2U);
  ASSERT_EQ(stream.messages[1]->remove().addrs_size(), 1);
  EXPECT_EQ(stream.messages[1]->remove().addrs(0).ip().ipv4(), 0x0a010001U);

  topics.publish(snapshot_of(shop(""), 4));
  ASSERT_EQ(stream.messages.size(), 3U);
  EXPECT_TRUE(stream.messages[2]->no_endpoints().exists());

  topics.publish(snapshot_of("", 5));
  ASSERT_EQ(stream.messages.size(), 4U);
  EXPECT_FALSE(stream.messages[3]->no_endpoints().exists());

  topics.publish(snapshot_of(shop(test::web_1), 6));
  ASSERT_EQ(stream.messages.size(), 5U);
  EXPECT_EQ(stream.messages[4]->add().addrs_size(), 1);
  topics.remove(web, stream);
  EXPECT_EQ(topics.questions(), 0U);
}

TEST(Topics, SharesOneMessageBetweenStreamsAndKeepsThemInStep) {
  EndpointTopics topics({}, snapshot_of(shop(test::web_1)));
  Recorder<destination_api::Update> first;
  Recorder<destination_api::Update> second;
  topics.add(web, first, accept);
  topics.publish(snapshot_of(shop(both()), 2));
  topics.add(web, second, accept);
  ASSERT_EQ(second.messages.size(), 1U);
  EXPECT_EQ(second.messages[0]->add().addrs_size(), 2) << "a late stream gets all of it";
  topics.publish(snapshot_of(shop(test::web_1), 3));
  EXPECT_EQ(first.messages.back(), second.messages.back());
  EXPECT_EQ(topics.questions(), 1U);
  topics.remove(web, first);
  topics.remove(web, second);
}

TEST(Topics, IgnoresASnapshotThatCameLate) {
  EndpointTopics topics({}, snapshot_of(shop(test::web_1), 5));
  Recorder<destination_api::Update> stream;
  topics.add(web, stream, accept);
  topics.publish(snapshot_of(shop(both()), 4));
  EXPECT_EQ(stream.messages.size(), 1U);
  topics.remove(web, stream);
}

TEST(Topics, DoesNotKeepARejectedQuestion) {
  EndpointTopics topics({}, snapshot_of(shop(test::web_1)));
  Recorder<destination_api::Update> stream;
  EXPECT_FALSE(topics.add(web, stream, [](const EndpointSet&) { return false; }));
  EXPECT_TRUE(stream.messages.empty());
  EXPECT_EQ(topics.questions(), 0U);
}

TEST(Topics, EndsStreamsAndThoseThatComeLater) {
  EndpointTopics topics({}, snapshot_of(shop(test::web_1)));
  Recorder<destination_api::Update> first;
  Recorder<destination_api::Update> second;
  topics.add(web, first, accept);
  topics.end();
  topics.add(web, second, accept);
  EXPECT_TRUE(first.ended);
  EXPECT_TRUE(second.ended);
  topics.remove(web, first);
  topics.remove(web, second);
}

TEST(Topics, SendsAProfileAgainOnlyWhenItDiffers) {
  ProfileTopics topics({}, snapshot_of(""));
  Recorder<destination_api::DestinationProfile> stream;
  const Target target = test::at("10.96.0.10:80");
  topics.add(target, stream, [](const Profile&) { return true; });
  ASSERT_EQ(stream.messages.size(), 1U);
  EXPECT_EQ(stream.messages[0]->fully_qualified_name(), "");
  topics.publish(snapshot_of(shop(both()), 2));
  ASSERT_EQ(stream.messages.size(), 2U) << "the address became a service's";
  EXPECT_EQ(stream.messages[1]->fully_qualified_name(), "web.shop.svc.cluster.local");
  EXPECT_EQ(stream.messages[1]->parent_ref().resource().port(), 80U);
  topics.publish(snapshot_of(shop(test::web_1), 3));
  EXPECT_EQ(stream.messages.size(), 2U);
  topics.remove(target, stream);
}

TEST(Messages, SplitALargeSet) {
  std::string endpoints;
  for (int i = 0; i < 2500; ++i) {
    endpoints += "{addresses: [10.2." + std::to_string(i / 250) + "." + std::to_string(i % 250) + "]},";
  }
  const auto snapshot = snapshot_of(shop(endpoints));
  const EndpointTraits traits;
  const auto messages = traits.changes(nullptr, traits.answer(*snapshot, web));
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_EQ(
      messages[0]->add().addrs_size() + messages[1]->add().addrs_size() + messages[2]->add().addrs_size(),
      2500);
}

TEST(Messages, AreTheBytesThatLinkerdReads) {
  using namespace std::string_literals;
  EndpointSet set;
  set.exists = true;
  set.endpoints[test::at("10.1.0.1:8080")] = {{}, "a", Hint::http2};
  // Written by hand from the field numbers of linkerd2-proxy-api.
  const std::string expected = "\x0a\x21"s + "\x0a\x1f"s +                // Update.add, its addrs
                               "\x0a\x0a\x0a\x05\x0d\x01\x00\x01\x0a"s +  // addr: ip.ipv4, fixed32
                               "\x10\x90\x3f"s +                          // its port
                               "\x18\x90\x4e"s +                          // weight
                               "\x2a\x0a\x0a\x03\x0a\x01\x61"s +          // tls_identity: DNS-like name
                               "\x22\x03\x0a\x01\x61"s +                  // and server name
                               "\x32\x02\x0a\x00"s;                       // protocol_hint.h2
  EXPECT_EQ(EndpointTraits{}.changes(nullptr, set).at(0)->SerializeAsString(), expected);
}

TEST(Messages, EncodeIpv6InTwoBigEndianHalves) {
  const auto snapshot = snapshot_of(shop("{addresses: [\"fd00::1:2\"]}"));
  const EndpointTraits traits;
  const auto messages = traits.changes(nullptr, traits.answer(*snapshot, web));
  const auto& ip = messages.at(0)->add().addrs(0).addr().ip();
  EXPECT_EQ(ip.ipv6().first(), 0xfd00000000000000ULL);
  EXPECT_EQ(ip.ipv6().last(), 0x10002ULL);
}

}  // namespace
}  // namespace heddle::control
