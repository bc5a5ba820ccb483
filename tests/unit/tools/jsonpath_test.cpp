// SPDX-License-Identifier: Apache-2.0
#include "tools/output/jsonpath.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <ostream>
#include <sstream>

#include "tools/output/jsonpath_stream.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string made(std::string_view path, std::string_view document) {
  const auto parsed = JsonPath::parse(path);
  if (!parsed) return "no template: " + parsed.error().message();
  const auto text = parsed->apply(json::parse({document.data(), document.size()}));
  return text ? *text : "error: " + text.error().message();
}

// Many more, against kubectl itself, are in jsonpath_test.py.
TEST(JsonPath, PicksValuesAndRanges) {
  constexpr auto list = R"({"items":[{"name":"a","n":1},{"name":"b","n":2.5,"on":true}]})";
  EXPECT_EQ(made("{.items[*].name}", list), "a b");
  EXPECT_EQ(made("{range .items[*]}{.name}={.n}{\"\\n\"}{end}", list), "a=1\nb=2.5\n");
  EXPECT_EQ(made("{.items[?(@.on)].name} {.items[?(@.n>1)].n}", list), "b 2.5");
  EXPECT_EQ(made("{.items[?(@.on==true)].name}", list), "b");
  EXPECT_EQ(made("text only", list), "text only");
}

TEST(JsonPath, PrintsStructuresWithSortedKeys) {
  EXPECT_EQ(made("{.a}", R"({"a":{"z":"<&>","b":[1,null]}})"), R"({"b":[1,null],"z":"\u003c\u0026\u003e"})");
}

TEST(JsonPath, PrintsNumbersShort) {
  EXPECT_EQ(made("{[*]}", "[0.25, 1e21, 1e20, 0.00001, 3, -7, 1.0]"),
            "0.25 1e+21 100000000000000000000 1e-05 3 -7 1");
}

TEST(JsonPath, PrintsNothingForWhatIsNotThereAndFailsBeyondAnArray) {
  EXPECT_EQ(made("[{.a.b.c}]", R"({"a":{}})"), "[]");
  EXPECT_EQ(made("{.a[3]}", R"({"a":[1]})"),
            "error: jsonpath: array index out of bounds: index 3, length 1: invalid argument");
  EXPECT_EQ(made("{.a[1:0]}", R"({"a":[1,2]})").substr(0, 6), "error:");
  EXPECT_EQ(made("{.a[0]}", R"({"a":{}})").substr(0, 6), "error:");
}

TEST(JsonPath, RefusesWhatItDoesNotUnderstand) {
  for (const char* text : {"{.a", "{", "{.a[}", "{.a[0}", "{.a[?(@.b}", "{.a[?(@.b==)]}", "{.a['b]}", "{\"a}",
                           "{end}", "{.a b}", "{.a[99999999999999999999]}", "{.a[0:1:0]}", "{.}}{end}"}) {
    EXPECT_EQ(made(text, "{}").substr(0, 12), "no template:") << text;
  }
  EXPECT_FALSE(JsonPath::parse(std::string(70'000, 'x')));
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += "{range .a}";
  EXPECT_FALSE(JsonPath::parse(nested));
}

TEST(JsonPath, IsBoundedInWhatItVisits) {
  std::string deep = "1";
  for (int i = 0; i < 25; ++i) deep = "[" + deep + "," + std::to_string(i) + "]";
  std::string path = "{";
  for (int i = 0; i < 12; ++i) path += "..*";
  EXPECT_EQ(made(path + "}", deep), "error: jsonpath: more than a million values: limit reached");
}

TEST(JsonPathStream, PrintsALineForEachDocument) {
  std::ostringstream to;
  JsonPathStream stream(*JsonPath::parse("{.a}"), *to.rdbuf());
  std::ostream out(&stream);
  out << "{\"a\":1}\n\n{\"a\"" << ":[2" << ",3]}" << '{' << "}" << std::endl;
  EXPECT_TRUE(stream.finish());
  EXPECT_EQ(to.str(), "1\n[2,3]\n");
}

TEST(JsonPathStream, RefusesWhatIsNoJson) {
  for (const char* text : {"NAME  READY", "{\"a\": nonsense}", "{\"a\":"}) {
    std::ostringstream to;
    JsonPathStream stream(*JsonPath::parse("{.a}"), *to.rdbuf());
    std::ostream out(&stream);
    out << text;
    EXPECT_FALSE(stream.finish()) << text;
    EXPECT_EQ(to.str(), "");
  }
}

}  // namespace
}  // namespace heddle::tools
