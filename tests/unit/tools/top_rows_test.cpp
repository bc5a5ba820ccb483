// SPDX-License-Identifier: Apache-2.0
#include "tools/views/top_rows.h"

#include <gtest/gtest.h>

namespace heddle::tools {
namespace {

boost::json::object record(const std::string& json) {
  return boost::json::parse(json).as_object();
}

TEST(TopRows, AddUpRequestsOfOneKindWhateverTheirQuery) {
  TopRows top;
  for (const char* path : {"/cart?id=1", "/cart?id=2", "/cart"}) {
    auto one = record(
        R"({"direction":"outbound","namespace":"shop","pod":"client","authority":"web.shop:80","method":"GET","status":200,"duration_us":2000,"protocol":"http/1"})");
    one["path"] = path;
    if (std::string(path) == "/cart") {
      one["status"] = 503;
      one["duration_us"] = 9000;
    }
    top.add(one);
  }
  const auto rows = top.rows(0);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].src, "shop/client");
  EXPECT_EQ(rows[0].dst, "web.shop:80");
  EXPECT_EQ(rows[0].path, "/cart");
  EXPECT_EQ(rows[0].count, 3U);
  EXPECT_EQ(rows[0].failed, 1U);
  EXPECT_EQ(rows[0].best_ms, 2);
  EXPECT_EQ(rows[0].worst_ms, 9);
}

TEST(TopRows, PutTheMostFrequentFirstAndForgetClientsPorts) {
  TopRows top;
  top.add(record(
      R"({"direction":"outbound","namespace":"a","pod":"b","original_dst":"10.0.0.1:5432","protocol":"opaque"})"));
  for (int port = 1000; port < 1005; ++port) {
    auto one = record(R"({"direction":"inbound","namespace":"a","pod":"c","protocol":"opaque"})");
    one["client"] = "[fd00::1]:" + std::to_string(port);
    top.add(one);
  }
  const auto rows = top.rows(1);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].dst, "[fd00::1]");
  EXPECT_EQ(rows[0].count, 5U);
  EXPECT_EQ(top.rows(0).size(), 2U);
}

TEST(TopRows, StayBoundedAndLeaveOutWhatIsNoRecord) {
  TopRows top;
  top.add(record(R"({"dropped":3})"));
  EXPECT_TRUE(top.rows(0).empty());
  for (std::size_t i = 0; i < TopRows::most_rows + 5; ++i) {
    auto one = record(R"({"direction":"outbound","namespace":"a","pod":"b","authority":"x","method":"GET"})");
    one["path"] = "/" + std::to_string(i);
    top.add(one);
  }
  EXPECT_EQ(top.rows(0).size(), TopRows::most_rows);
  EXPECT_EQ(top.left_out(), 5U);
}

}  // namespace
}  // namespace heddle::tools
