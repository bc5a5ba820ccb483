// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

TEST(Metrics, AreWrittenInPrometheusTextForm) {
  MetricsText text;
  text.family("pods", "gauge", "Pods.");
  text.sample({{"name", "a\"b\\c\nd"}}, std::uint64_t{3});
  EXPECT_EQ(text.take(), "# HELP pods Pods.\n# TYPE pods gauge\npods{name=\"a\\\"b\\\\c\\nd\"} 3\n");
}

TEST(Metrics, CountHistogramsCumulatively) {
  Histogram histogram;
  histogram.observe(std::chrono::microseconds(400));
  histogram.observe(std::chrono::microseconds(500));
  histogram.observe(std::chrono::milliseconds(3));
  histogram.observe(std::chrono::seconds(60));
  MetricsText text;
  text.family("took", "histogram", "Took.");
  text.histogram(histogram);
  const std::string out = text.take();
  EXPECT_NE(out.find("took_bucket{le=\"0.0005\"} 2\n"), std::string::npos) << out;
  EXPECT_NE(out.find("took_bucket{le=\"0.004\"} 3\n"), std::string::npos) << out;
  EXPECT_NE(out.find("took_bucket{le=\"10\"} 3\n"), std::string::npos) << out;
  EXPECT_NE(out.find("took_bucket{le=\"+Inf\"} 4\n"), std::string::npos) << out;
  EXPECT_NE(out.find("took_count 4\n"), std::string::npos) << out;
}

}  // namespace
}  // namespace heddle::agent
