// SPDX-License-Identifier: Apache-2.0
#include "tools/output/json.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>

namespace heddle::tools {
namespace {

namespace json = boost::json;

TEST(JsonText, WritesNumbersAsPeopleDo) {
  const json::array numbers{0.25, 4.0, 1234567.5, json::value(std::nan("")), 7};
  EXPECT_EQ(json_text(numbers), "[0.25,4,1.23457e+06,null,7]");
}

TEST(JsonText, IndentsAndStaysJson) {
  const json::object object{{"a\"b", json::array{}}, {"c", json::object{{"d", "x\ny"}}}};
  EXPECT_EQ(json_text(object, true), "{\n  \"a\\\"b\": [],\n  \"c\": {\n    \"d\": \"x\\ny\"\n  }\n}");
  EXPECT_EQ(json::parse(json_text(object, true)), json::value(object));
}

}  // namespace
}  // namespace heddle::tools
