// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <gtest/gtest.h>

namespace heddle {
namespace {

TEST(IpAddress, ParsesAndPrintsBothFamilies) {
  for (const char* text :
       {"0.0.0.0", "10.96.0.10", "255.255.255.255", "::", "::1", "fd00::1:2", "2001:db8::ff"}) {
    auto ip = IpAddress::parse(text);
    ASSERT_TRUE(ip) << text;
    EXPECT_EQ(ip->to_string(), text);
  }
}

TEST(IpAddress, EqualsItsV4MappedForm) {
  EXPECT_EQ(*IpAddress::parse("::ffff:10.0.0.1"), *IpAddress::parse("10.0.0.1"));
  EXPECT_TRUE(IpAddress::parse("::ffff:10.0.0.1")->is_v4());
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const std::string& text :
       {std::string(""), std::string("10.0.0"), std::string("10.0.0.256"), std::string("[::1]"),
        std::string("fe80::1%eth0"), std::string(5000, '1'), std::string("10.0.0.1\0x", 10)}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, KnowsItsKind) {
  EXPECT_TRUE(IpAddress::parse("127.8.9.1")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("::1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("128.0.0.1")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("::")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("169.254.7.1")->is_link_local());
  EXPECT_TRUE(IpAddress::parse("febf::1")->is_link_local());
  EXPECT_FALSE(IpAddress::parse("fec0::1")->is_link_local());
}

TEST(SocketAddress, RoundTripsThroughTextAndSockaddr) {
  for (const char* text : {"10.0.0.1:80", "[fd00::1]:443", "0.0.0.0:65535"}) {
    auto address = SocketAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
    for (const bool as_v6 : {false, true}) {
      sockaddr_storage storage{};
      address->to_sockaddr(storage, as_v6);
      auto back = SocketAddress::from(storage);
      ASSERT_TRUE(back) << text;
      EXPECT_EQ(*back, *address);
    }
  }
}

TEST(SocketAddress, RefusesWhatIsNoAddressWithPort) {
  for (const char* text : {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "::1:80", "[::1]80",
                           ":80", "10.0.0.1:8 0"}) {
    EXPECT_FALSE(SocketAddress::parse(text)) << text;
  }
}

TEST(SocketAddress, RefusesOtherFamilies) {
  sockaddr_storage storage{};
  storage.ss_family = AF_UNIX;
  EXPECT_FALSE(SocketAddress::from(storage));
}

TEST(Cidr, ContainsItsAddressesAndNoOthers) {
  const auto ten = *Cidr::parse("10.0.0.0/8");
  EXPECT_TRUE(ten.contains(*IpAddress::parse("10.255.1.2")));
  EXPECT_FALSE(ten.contains(*IpAddress::parse("11.0.0.0")));
  EXPECT_FALSE(ten.contains(*IpAddress::parse("a00::")));
  const auto odd = *Cidr::parse("fd00::/9");
  EXPECT_TRUE(odd.contains(*IpAddress::parse("fd7f::1")));
  EXPECT_FALSE(odd.contains(*IpAddress::parse("fd80::1")));
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("8.8.8.8")));
  EXPECT_FALSE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("fd00::1")));
  EXPECT_TRUE(Cidr::parse("::/0")->contains(*IpAddress::parse("8.8.8.8")));
}

TEST(Cidr, ClearsHostBitsAndPrintsAsGiven) {
  EXPECT_EQ(Cidr::parse("10.1.2.3/8")->to_string(), "10.0.0.0/8");
  EXPECT_EQ(Cidr::parse("10.1.2.3")->to_string(), "10.1.2.3/32");
  EXPECT_EQ(Cidr::parse("fd00::1")->to_string(), "fd00::1/128");
  for (const char* text : {"10.0.0.0/33", "10.0.0.0/", "/8", "fd00::/129", "10.0.0.0/8/8"}) {
    EXPECT_FALSE(Cidr::parse(text)) << text;
  }
}

TEST(PortRange, ParsesLinkerdsLists) {
  auto list = PortRange::parse_list("25, 587,8000-9000,");
  ASSERT_TRUE(list) << list.error().message();
  EXPECT_EQ(*list, (std::vector<PortRange>{{25, 25}, {587, 587}, {8000, 9000}}));
  EXPECT_TRUE(PortRange::parse_list("")->empty());
  for (const char* text : {"0", "65536", "90-80", "80-", "-80", "http", "80;81"}) {
    EXPECT_FALSE(PortRange::parse_list(text)) << text;
  }
}

}  // namespace
}  // namespace heddle
