// SPDX-License-Identifier: Apache-2.0
// The files in deploy/ are what the command renders, and describe the version that is built.
#include <gmock/gmock.h>

#include "base/io/file.h"
#include "tools/deploy/chart_files.h"
#include "tools/deploy/manifest.h"
#include "tools/deploy/values.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string committed(const std::string& path) {
  return read_file(HEDDLE_DEPLOY "/" + path).value();
}

TEST(DeployFiles, KustomizeBaseIsWhatIsRendered) {
  for (const auto& file : kustomize_files(default_values().value()).value()) {
    EXPECT_EQ(committed("kustomize/" + file.path), file.text)
        << file.path << " is old; run `heddle render --kustomize deploy/kustomize`";
  }
}

TEST(DeployFiles, ChartIsWhatIsCompiledIn) {
  const auto files = helm_chart(default_values().value());
  EXPECT_EQ(files.size(), chart_files().size());
  for (const auto& file : files) EXPECT_EQ(committed("chart/" + file.path), file.text) << file.path;
}

TEST(DeployFiles, AChartOfOtherValuesHasThemAsDefaults) {
  auto values = default_values().value();
  set_value(values, "logLevel=debug").value();
  set_value(values, "agent.extraArgs=['--a=\"b']").value();
  for (const auto& file : helm_chart(values)) {
    if (file.path != "values.yaml") continue;
    EXPECT_EQ(read_values(file.text, "values.yaml").value(), values);
  }
}

TEST(DeployFiles, NameTheVersionThatIsBuilt) {
  const auto chart = read_values(committed("chart/Chart.yaml"), "Chart.yaml").value();
  EXPECT_EQ(chart.at("version").as_string(), HEDDLE_VERSION);
  EXPECT_EQ(chart.at("appVersion").as_string(), HEDDLE_VERSION);
  EXPECT_EQ(default_values().value().at("image").as_string(), "heddle:" HEDDLE_VERSION);
}

// Every value has an entry in the schema, every entry a default and a description.
void compare(const json::object& values, const json::object& schema, const std::string& path) {
  const auto& properties = schema.at("properties").as_object();
  EXPECT_FALSE(schema.at("additionalProperties").as_bool()) << path;
  EXPECT_EQ(values.size(), properties.size()) << path;
  for (const auto& [key, property] : properties) {
    const std::string below = path + "." + std::string(key);
    ASSERT_TRUE(values.contains(key)) << below;
    EXPECT_FALSE(property.at("description").as_string().empty()) << below;
    if (property.as_object().contains("properties"))
      compare(values.at(key).as_object(), property.as_object(), below);
  }
}

TEST(DeployFiles, SchemaDescribesEveryValue) {
  const auto schema = json::parse(committed("chart/values.schema.json"));
  compare(default_values().value(), schema.as_object(), "");
}

}  // namespace
}  // namespace heddle::tools
