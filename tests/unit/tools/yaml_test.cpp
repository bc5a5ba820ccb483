// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/yaml.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>

namespace heddle::tools {
namespace {

using testing::HasSubstr;

std::string error_of(const std::string& yaml) {
  const auto objects = parse_objects(yaml, "file.yaml");
  return objects ? "no error" : objects.error().message();
}

TEST(Yaml, KeepsQuotedScalarsAsStrings) {
  const auto objects =
      parse_objects("kind: X\nport: 80\ntext: \"80\"\nyes: true\nno: 'true'\nnil: ~\nreal: 1.5", "f");
  ASSERT_TRUE(objects) << objects.error().message();
  const auto& object = objects->front();
  EXPECT_TRUE(object.at("port").is_int64());
  EXPECT_TRUE(object.at("text").is_string());
  EXPECT_TRUE(object.at("yes").is_bool());
  EXPECT_TRUE(object.at("no").is_string());
  EXPECT_TRUE(object.at("nil").is_null());
  EXPECT_TRUE(object.at("real").is_double());
}

TEST(Yaml, SplitsDocumentsAndExpandsLists) {
  const auto objects =
      parse_objects("---\nkind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n", "f");
  ASSERT_TRUE(objects) << objects.error().message();
  ASSERT_EQ(objects->size(), 3u);
  EXPECT_EQ(objects->back().at("kind").as_string(), "C");
}

TEST(Yaml, SaysWhichFileAndLineIsWrong) {
  EXPECT_THAT(error_of("kind: A\n  bad: [\n"), HasSubstr("file.yaml: line"));
  EXPECT_THAT(error_of("name: A"), HasSubstr("without `kind`"));
  EXPECT_THAT(error_of("- a\n- b"), HasSubstr("no Kubernetes object"));
}

TEST(Yaml, RefusesWhatIsNestedTooDeepOrTooLarge) {
  std::string deep = "kind: A\nx: ";
  for (int i = 0; i < 100; ++i) deep += "[";
  for (int i = 0; i < 100; ++i) deep += "]";
  EXPECT_THAT(error_of(deep), HasSubstr("64 deep"));
  // Each line refers nine times to the one before: a thousand million nodes if it were expanded.
  std::string laughs = "kind: A\na0: &a0 [x]\n";
  for (int i = 1; i < 10; ++i) {
    const auto before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 8; ++j) laughs += ", " + before;
    laughs += "]\n";
  }
  EXPECT_THAT(error_of(laughs), HasSubstr("200000 nodes"));
}

}  // namespace
}  // namespace heddle::tools
