// SPDX-License-Identifier: Apache-2.0
// What users see is documented: names are taken out of the sources and looked for in docs/.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "base/io/file.h"

namespace heddle::agent {
namespace {

std::string text_of(const std::string& path) {
  const auto text = read_file(std::string(HEDDLE_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(text) << path;
  return text ? *text : "";
}

// Each first group of the pattern.
std::set<std::string> found(const std::string& path, const std::string& pattern) {
  const std::string text = text_of(path);
  const std::regex regex(pattern);
  std::set<std::string> out;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match)
    out.insert((*match)[1]);
  EXPECT_FALSE(out.empty()) << path << " has nothing like " << pattern;
  return out;
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Docs, HaveEveryFlagOfTheAgentAndThePlugin) {
  const std::string agent = text_of("docs/agent.md");
  for (const auto& flag : found("agent/options.cpp", R"re(flag\(app, "([a-z-]+)")re"))
    EXPECT_TRUE(says(agent, "`--" + flag + "`")) << flag;
  for (const auto& flag : found("agent/options.cpp", R"re(add_flag\("--([a-z-]+)")re"))
    EXPECT_TRUE(says(agent, "`--" + flag + "`")) << flag;
  const std::string plugin = text_of("docs/cni.md");
  for (const auto& flag : found("cni/command_line.cpp", R"re("--([a-z-]+)")re"))
    EXPECT_TRUE(says(plugin, "--" + flag)) << flag;
}

TEST(Docs, HaveEveryMetricOfTheAgentAndNoOther) {
  const auto metrics = found("agent/admin/pages_metrics.cpp", R"re(text\.family\("([a-z_]+)")re");
  const std::string docs = text_of("docs/agent.md");
  const std::string section = docs.substr(docs.find("## Metrics"));
  std::set<std::string> documented;
  // `_pods_failing` stands for `heddle_agent_pods_failing`.
  const std::regex name(R"re(`([a-z_]+)(\{[a-z_,]*\})?`)re");
  for (std::sregex_iterator match(section.begin(), section.end(), name), end; match != end; ++match) {
    const std::string word = (*match)[1];
    documented.insert(word.starts_with('_') ? "heddle_agent" + word : word);
  }
  EXPECT_EQ(documented, metrics);
}

TEST(Docs, HaveEveryAnnotation) {
  const std::string docs = text_of("docs/agent.md");
  for (const auto& name :
       found("agent/pods/annotations.cpp", R"re("(?:config\.linkerd|linkerd|heddle)\.io/([a-z-]+)")re"))
    EXPECT_TRUE(says(docs, name + "`")) << name;
}

TEST(Docs, HaveEveryCodeOfTheRuntimesAnswers) {
  const std::string errors = text_of("docs/errors.md");
  std::set<std::string> codes = found("agent/cni/request.h", R"re(  [a-z_]+ = (\d+),)re");
  codes.merge(found("cni/outcome.h", R"re(  [a-z_]+ = (\d+),)re"));
  codes.erase("0");
  for (const auto& code : codes) EXPECT_TRUE(says(errors, "\n| " + code + " |")) << code;
  for (const auto& code : found("docs/errors.md", R"re(\n\| (\d+) \|)re"))
    EXPECT_TRUE(codes.contains(code)) << code << " is documented and never answered";
}

TEST(Docs, HaveEveryVerdict) {
  const std::string docs = text_of("docs/interception.md");
  for (const auto& verdict : found("agent/datapath/verdict.cpp", R"re(return "([a-z_]+)";)re")) {
    if (verdict == "unknown") continue;
    EXPECT_TRUE(says(docs, "`" + verdict + "`")) << verdict;
  }
}

TEST(Docs, HaveEveryFieldOfTheStatePage) {
  const std::string docs = text_of("docs/agent.md");
  auto fields = found("agent/admin/pages.cpp", R"re(\{"([a-z_]+)",)re");
  fields.merge(found("agent/admin/pages.cpp", R"re(pod\["([a-z_]+)"\])re"));
  fields.merge(found("agent/admin/drops.cpp", R"re(\{"([a-z_]+)",)re"));
  for (const auto& field : fields) EXPECT_TRUE(says(docs, "`" + field)) << field;
}

}  // namespace
}  // namespace heddle::agent
