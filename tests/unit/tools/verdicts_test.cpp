// SPDX-License-Identifier: Apache-2.0
#include "tools/check/verdicts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/io/file.h"
#include "tools/check/codes.h"

namespace heddle::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Verdicts sample() {
  Verdicts out;
  out.ok(check_code::kernel, "kernel", "6.1");
  out.about("n1");
  out.warn(check_code::cilium, "Cilium", "takes <others> & \"more\" out");
  out.fail(check_code::proxy, "proxy", "nobody answers");
  return out;
}

TEST(Verdicts, AreGoodAsLongAsNothingFails) {
  Verdicts out;
  EXPECT_TRUE(out.good());
  out.warn(check_code::bpffs, "bpffs", "not mounted");
  EXPECT_TRUE(out.good());
  out.fail(check_code::root, "root", "no");
  EXPECT_FALSE(out.good());
}

TEST(Verdicts, TellInATableWhatIsWrongAndWhatToDoOncePerCode) {
  auto verdicts = sample();
  verdicts.fail(check_code::proxy, "proxy", "nobody answers here either");
  const auto text = verdicts.render(Output::table);
  EXPECT_THAT(text, AllOf(HasSubstr("HC002"), HasSubstr("n1: proxy"), HasSubstr("FAIL"),
                          HasSubstr("something is wrong")));
  const auto hint = std::string(find_check_code(check_code::proxy)->hint);
  ASSERT_THAT(text, HasSubstr(hint));
  EXPECT_THAT(text.substr(text.find(hint) + 1), Not(HasSubstr(hint)));
}

TEST(Verdicts, LeaveOutWhatIsWellInTheShortForm) {
  EXPECT_THAT(sample().render(Output::short_list),
              AllOf(Not(HasSubstr("HC002")), HasSubstr("HC105"), HasSubstr("HC305")));
  Verdicts fine;
  fine.ok(check_code::root, "root");
  EXPECT_EQ(fine.render(Output::short_list), "all is well\n");
}

TEST(Verdicts, KeepEverythingThroughJson) {
  const auto text = sample().render(Output::json);
  EXPECT_THAT(text, HasSubstr("\"hint\""));
  EXPECT_EQ(verdicts_of(text), sample().list());
  EXPECT_TRUE(verdicts_of("nonsense").empty());
  EXPECT_TRUE(verdicts_of("{\"checks\":[1,2]}").empty());
}

TEST(Verdicts, EscapeWhatXmlCannotHold) {
  Verdicts out = sample();
  out.fail(check_code::pods, "pod\x01", "a\nb");
  const auto text = out.render(Output::junit);
  EXPECT_THAT(text, AllOf(HasSubstr("tests=\"4\" failures=\"2\""),
                          HasSubstr("takes &lt;others&gt; &amp; &quot;more&quot; out"),
                          HasSubstr("name=\"n1: pod?\"")));
}

TEST(CheckCodes, AreUniqueAndDocumented) {
  const auto docs = read_file(std::string(HEDDLE_SOURCE_DIR) + "/docs/errors.md");
  ASSERT_TRUE(docs);
  std::set<std::string_view> seen;
  for (const auto& code : check_codes()) {
    EXPECT_TRUE(seen.insert(code.code).second) << code.code;
    const auto line = "| " + std::string(code.code) + " | " + std::string(code.what) + " |";
    EXPECT_THAT(*docs, HasSubstr(line));
    EXPECT_EQ(find_check_code(code.code), &code);
  }
  EXPECT_EQ(find_check_code("HC999"), nullptr);
}

}  // namespace
}  // namespace heddle::tools
