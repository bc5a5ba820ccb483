// SPDX-License-Identifier: Apache-2.0
#include "tools/metrics/prometheus.h"

#include <gmock/gmock.h>

#include <cmath>

namespace heddle::tools {
namespace {

using testing::HasSubstr;

TEST(Prometheus, ReadsNamesLabelsValuesAndSkipsComments) {
  const auto samples = parse_prometheus(
      "# HELP a b\n# TYPE a counter\na 1\n\nb{x=\"1\",y=\"with \\\"quote\\\" and \\\\ and \\n\"} 2.5e3 "
      "1700000000\r\nc{} NaN\n"
      "d_bucket{le=\"+Inf\",} +Inf");
  ASSERT_TRUE(samples) << samples.error().message();
  ASSERT_EQ(samples->size(), 4u);
  EXPECT_EQ((*samples)[1].label("y"), "with \"quote\" and \\ and \n");
  EXPECT_EQ((*samples)[1].value, 2500);
  EXPECT_EQ((*samples)[1].label("absent"), "");
  EXPECT_TRUE(std::isnan((*samples)[2].value));
  EXPECT_TRUE(std::isinf(bucket_bound((*samples)[3])));
}

TEST(Prometheus, NamesTheLineThatIsMalformed) {
  for (const char* text :
       {"a", "a{", "a{x} 1", "a{x=\"1} 1", "a{x=\"1\"", "a one", "{x=\"1\"} 1", "a{x=\"\\"}) {
    const auto samples = parse_prometheus("ok 1\n" + std::string(text) + "\n");
    ASSERT_FALSE(samples) << text;
    EXPECT_THAT(samples.error().message(), HasSubstr("line 2"));
  }
}

TEST(Prometheus, CountsARestartedProcessFromZero) {
  const auto before = *parse_prometheus("a{p=\"1\"} 10\na{p=\"2\"} 10\n");
  const auto after = *parse_prometheus("a{p=\"1\"} 15\na{p=\"2\"} 3\na{p=\"3\"} 2\n");
  const auto delta = difference(before, after);
  EXPECT_EQ(delta[0].value, 5);
  EXPECT_EQ(delta[1].value, 3);
  EXPECT_EQ(delta[2].value, 2);
}

TEST(Prometheus, InterpolatesQuantilesWithinABucket) {
  const std::map<double, double> buckets{{10, 50}, {20, 100}, {INFINITY, 100}};
  EXPECT_DOUBLE_EQ(histogram_quantile(0.5, buckets), 10);
  EXPECT_DOUBLE_EQ(histogram_quantile(0.75, buckets), 15);
  EXPECT_DOUBLE_EQ(histogram_quantile(1, {{10, 50}, {INFINITY, 100}}), 10);
  EXPECT_TRUE(std::isnan(histogram_quantile(0.5, {})));
}

}  // namespace
}  // namespace heddle::tools
