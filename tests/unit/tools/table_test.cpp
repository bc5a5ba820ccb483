// SPDX-License-Identifier: Apache-2.0
#include "tools/output/table.h"

#include <gtest/gtest.h>

namespace heddle::tools {
namespace {

TEST(TextTable, AlignsColumnsByWhatIsShownNotByBytes) {
  Table table({"NAME", ">MS", "NOTE"});
  table.add({"a", "5 µs", ""});
  table.add({"long name", "12 ms", "x", "dropped"});
  EXPECT_EQ(table.render(),
            "NAME          MS  NOTE\n"
            "a           5 µs\n"
            "long name  12 ms  x\n");
}

TEST(TextTable, ScalesNumbersForPeople) {
  EXPECT_EQ(scaled(0), "0");
  EXPECT_EQ(scaled(999), "999");
  EXPECT_EQ(scaled(1500), "1.5K");
  EXPECT_EQ(scaled(23'400'000), "23.4M");
  EXPECT_EQ(duration_text(0.087), "87 µs");
  EXPECT_EQ(duration_text(3.42), "3.4 ms");
  EXPECT_EQ(duration_text(1204), "1.20 s");
  EXPECT_EQ(age_text(192), "3m12s");
  EXPECT_EQ(age_text(18240), "5h04m");
}

}  // namespace
}  // namespace heddle::tools
