// SPDX-License-Identifier: Apache-2.0
#include "bpf/decide.h"

#include <gtest/gtest.h>

#include "agent/datapath/pod_entry.h"

namespace heddle::agent {
namespace {

struct Words {
  explicit Words(const char* text) : key(to_key(IpAddress::parse(text).value())) {}
  operator const __be32*() const { return key.ip; }
  heddle_ip_key key;
};

InterceptedPod pod_with(std::vector<PortRange> skip_out, std::vector<PortRange> skip_in,
                        std::vector<std::string> cidrs) {
  InterceptedPod pod;
  pod.id = 3;
  pod.netns_cookie = 1;
  pod.addresses = {IpAddress::parse("10.0.0.2").value()};
  pod.outbound_port = 4140;
  pod.inbound_port = 4143;
  pod.skip_outbound_ports = std::move(skip_out);
  pod.skip_inbound_ports = std::move(skip_in);
  for (const auto& text : cidrs) pod.skip_cidrs.push_back(Cidr::parse(text).value());
  return pod;
}

TEST(Decide, KnowsLoopbackInEveryForm) {
  for (const char* ip : {"127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::"})
    EXPECT_TRUE(heddle_is_loopback(Words(ip))) << ip;
  for (const char* ip : {"128.0.0.1", "::2", "10.0.0.1", "fd00::1", "1::"})
    EXPECT_FALSE(heddle_is_loopback(Words(ip))) << ip;
}

TEST(Decide, TellsIpv4FromIpv6) {
  EXPECT_TRUE(heddle_is_v4(Words("1.2.3.4")));
  EXPECT_FALSE(heddle_is_v4(Words("::1")));
  EXPECT_FALSE(heddle_is_v4(Words("fd00::ffff:1:2")));
}

TEST(Decide, AgreesWithCidrOnEveryPrefixLength) {
  for (const char* base : {"10.20.30.40", "fd12:3456:789a:bcde:f012:3456:789a:bcde"}) {
    const auto ip = IpAddress::parse(base).value();
    for (int bits = ip.is_v4() ? 96 : 0; bits <= 128; ++bits) {
      heddle_cidr cidr{};
      const auto key = to_key(ip);
      std::copy(std::begin(key.ip), std::end(key.ip), cidr.base);
      cidr.bits = static_cast<__u8>(bits);
      EXPECT_TRUE(heddle_cidr_contains(&cidr, key.ip)) << base << "/" << bits;
      for (int bit = 0; bit < 128; ++bit) {
        auto bytes = ip.bytes();
        bytes[static_cast<std::size_t>(bit / 8)] ^= static_cast<std::uint8_t>(0x80 >> (bit % 8));
        const auto other = to_key(IpAddress(bytes));
        EXPECT_EQ(heddle_cidr_contains(&cidr, other.ip) != 0, bit >= bits)
            << base << "/" << bits << " bit " << bit;
      }
    }
  }
}

TEST(Decide, LooksAtEveryPortRangeAndNoFurther) {
  std::vector<PortRange> ranges;
  for (std::uint16_t i = 0; i < HEDDLE_MAX_SKIP_PORTS; ++i) {
    ranges.push_back({static_cast<std::uint16_t>(100 * i + 10), static_cast<std::uint16_t>(100 * i + 20)});
  }
  const auto entry = to_entry(pod_with(ranges, {}, {})).value();
  const Words dst("10.9.9.9");
  EXPECT_EQ(heddle_decide_outbound(&entry, dst, 10), HEDDLE_V_OUT_SKIP_PORT);
  EXPECT_EQ(heddle_decide_outbound(&entry, dst, 1520), HEDDLE_V_OUT_SKIP_PORT);
  EXPECT_EQ(heddle_decide_outbound(&entry, dst, 9), HEDDLE_V_OUT_REDIRECTED);
  EXPECT_EQ(heddle_decide_outbound(&entry, dst, 1521), HEDDLE_V_OUT_REDIRECTED);
  EXPECT_EQ(heddle_decide_outbound(&entry, dst, 0), HEDDLE_V_OUT_REDIRECTED) << "unused slots are no range";
}

TEST(Decide, SkipsSubnetsInBothDirections) {
  const auto entry = to_entry(pod_with({}, {{22, 22}}, {"10.9.0.0/16"})).value();
  EXPECT_EQ(heddle_decide_outbound(&entry, Words("10.9.1.1"), 80), HEDDLE_V_OUT_SKIP_CIDR);
  EXPECT_EQ(heddle_decide_outbound(&entry, Words("10.8.1.1"), 80), HEDDLE_V_OUT_REDIRECTED);
  EXPECT_EQ(heddle_decide_inbound(&entry, 80, Words("10.9.1.1")), HEDDLE_V_IN_SKIP_CIDR);
  EXPECT_EQ(heddle_decide_inbound(&entry, 80, Words("10.8.1.1")), HEDDLE_V_IN_STEERED);
  EXPECT_EQ(heddle_decide_inbound(&entry, 22, Words("10.8.1.1")), HEDDLE_V_IN_SKIP_PORT);
}

TEST(Decide, RefusesAFamilyWithoutAnAddressRatherThanLetItPass) {
  const auto entry = to_entry(pod_with({}, {}, {})).value();
  EXPECT_EQ(heddle_decide_outbound(&entry, Words("fd00::1"), 80), HEDDLE_V_OUT_REFUSED);
  EXPECT_EQ(heddle_decide_outbound(&entry, Words("10.9.9.9"), 80), HEDDLE_V_OUT_REDIRECTED);
}

}  // namespace
}  // namespace heddle::agent
