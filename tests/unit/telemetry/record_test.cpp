// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "proxy/telemetry/recorder.h"

namespace heddle::proxy {
namespace {

TrafficRecord example() {
  static const auto pod = [] {
    auto p = std::make_shared<Pod>();
    p->ns = "shop";
    p->name = "web-1";
    return p;
  }();
  TrafficRecord r;
  r.direction = Direction::inbound;
  r.pod = pod;
  r.client = SocketAddress::parse("10.1.0.7:41000").value();
  r.original_dst = SocketAddress::parse("10.1.0.9:80").value();
  r.protocol = "http/1";
  r.tls = "true";
  r.peer_identity = "curl.shop.serviceaccount.identity.heddle.cluster.local";
  r.authority = "web.shop.svc.cluster.local:80";
  r.method = "GET";
  r.path = "/cart?id=7";
  r.status = 200;
  r.bytes_in = 10;
  r.bytes_out = 2000;
  r.duration = std::chrono::microseconds(1234);
  return r;
}

TEST(AccessLog, WritesOneJsonObjectPerLine) {
  OwnedRecord r(example());
  r.unix_us = 1'700'000'000'123'456;
  EXPECT_EQ(
      format_json(r),
      "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"direction\":\"inbound\",\"namespace\":\"shop\",\"pod\":"
      "\"web-1\","
      "\"client\":\"10.1.0.7:41000\",\"original_dst\":\"10.1.0.9:80\",\"authority\":\"web.shop.svc.cluster."
      "local:80\","
      "\"protocol\":\"http/1\",\"tls\":\"true\","
      "\"peer_identity\":\"curl.shop.serviceaccount.identity.heddle.cluster.local\",\"method\":\"GET\","
      "\"path\":\"/cart?id=7\",\"status\":200,\"bytes_in\":10,\"bytes_out\":2000,\"duration_us\":1234}\n");
}

TEST(AccessLog, WritesTheCommonFormatWithTheMeshsFactsBehind) {
  OwnedRecord r(example());
  r.unix_us = 1'700'000'000'123'456;
  EXPECT_EQ(format_apache(r),
            "10.1.0.7 curl.shop.serviceaccount.identity.heddle.cluster.local - [14/Nov/2023:22:13:20 +0000] "
            "\"GET /cart?id=7 http/1\" 200 2000 direction=inbound pod=shop/web-1 "
            "authority=web.shop.svc.cluster.local:80 dst=10.1.0.9:80 protocol=http/1 tls=true bytes_in=10 "
            "duration_us=1234\n");
}

TEST(AccessLog, StaysOneLineWhateverAClientSends) {
  auto hostile = example();
  hostile.path = "/a\nfake line\r\"\\\x01\xff";
  hostile.authority = "x y\"\n";
  hostile.server_name = "a\nb c";
  OwnedRecord r(hostile);
  for (const auto& line : {format_json(r), format_apache(r)}) {
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    EXPECT_EQ(line.find('\r'), std::string::npos);
  }
  EXPECT_NE(format_json(r).find("/a\\u000afake line\\u000d\\\"\\\\\\u0001\\u00ff"), std::string::npos)
      << format_json(r);
}

TEST(AccessLog, CutsEndlessPaths) {
  auto endless = example();
  const std::string path(100'000, 'a');
  endless.path = path;
  EXPECT_LT(format_json(OwnedRecord(endless)).size(), 6000u);
}

TEST(AccessLog, KnowsItsFormats) {
  EXPECT_EQ(parse_access_log_format("off").value(), AccessLogFormat::off);
  EXPECT_EQ(parse_access_log_format("apache").value(), AccessLogFormat::apache);
  EXPECT_EQ(parse_access_log_format("json").value(), AccessLogFormat::json);
  EXPECT_FALSE(parse_access_log_format("xml"));
}

TEST(TapFilters, MatchWhatTheyName) {
  const OwnedRecord r(example());
  const auto matches = [&](auto set) {
    TapFilter f;
    set(f);
    return f.matches(r);
  };
  EXPECT_TRUE(matches([](TapFilter&) {}));
  EXPECT_TRUE(matches([](TapFilter& f) { f.pod = "web-1"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.pod = "shop/web-1"; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.pod = "other/web-1"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.ns = "shop"; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.ns = "default"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.protocol = "http/1"; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.protocol = "opaque"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.method = "get"; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.method = "POST"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.path_prefix = "/cart"; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.path_prefix = "/admin"; }));
  EXPECT_TRUE(matches([](TapFilter& f) { f.status = 200; }));
  EXPECT_FALSE(matches([](TapFilter& f) { f.status = 500; }));
}

}  // namespace
}  // namespace heddle::proxy
