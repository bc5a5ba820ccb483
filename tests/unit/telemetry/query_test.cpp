// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/query.h"

#include <gtest/gtest.h>

namespace heddle::proxy {
namespace {

TEST(Query, IsDecoded) {
  const auto q = parse_query("/explain?pod=shop%2Fweb-1&dst=%5B%3A%3A1%5D:80&empty=&flag&x=a+b");
  EXPECT_EQ(q.get("pod"), "shop/web-1");
  EXPECT_EQ(q.get("dst"), "[::1]:80");
  EXPECT_EQ(q.get("empty"), "");
  EXPECT_EQ(q.get("flag"), "");
  EXPECT_EQ(q.get("x"), "a b");
  EXPECT_EQ(path_of("/explain?pod=x"), "/explain");
}

TEST(Query, SurvivesMalformedEscapes) {
  EXPECT_EQ(parse_query("/?a=%").get("a"), "%");
  EXPECT_EQ(parse_query("/?a=%zz%4").get("a"), "%zz%4");
  EXPECT_TRUE(parse_query("/?&&=&").get("a").empty());
}

TEST(Query, BecomesATapFilter) {
  const auto f =
      tap_filter(parse_query("/tap?pod=web&ns=shop&protocol=http/1&method=GET&path=/a&status=503")).value();
  EXPECT_EQ(f.pod, "web");
  EXPECT_EQ(f.ns, "shop");
  EXPECT_EQ(f.protocol, "http/1");
  EXPECT_EQ(f.method, "GET");
  EXPECT_EQ(f.path_prefix, "/a");
  EXPECT_EQ(f.status, 503);
}

TEST(Query, RefusesFiltersThatWouldMatchEverything) {
  for (const char* target : {"/tap?namespace=shop", "/tap?pod=web&verb=GET", "/tap?status=ok",
                             "/tap?status=99999", "/tap?status=50x"}) {
    EXPECT_FALSE(tap_filter(parse_query(target))) << target;
  }
  EXPECT_TRUE(tap_filter(parse_query("/tap")));
}

}  // namespace
}  // namespace heddle::proxy
