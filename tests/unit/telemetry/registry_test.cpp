// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/registry.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;
using Format = MetricsRegistry::Format;

// The value of a sample, by its name and labels as written; -1 if it is not there.
double value(const std::string& text, const std::string& sample) {
  const auto at = text.find("\n" + sample + " ");
  if (at == std::string::npos) return -1;
  return std::strtod(text.c_str() + at + sample.size() + 2, nullptr);
}

bool have_promtool() {
  return std::system("command -v promtool >/dev/null 2>&1") == 0;
}

// What Prometheus' parser insists on: HELP and TYPE once per family and before its samples, families not
// interleaved, no sample twice, names and label syntax.
void check_exposition(const std::string& text) {
  std::set<std::string> families, samples;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << "family twice: " << family;
      continue;
    }
    if (line.starts_with("#")) continue;
    EXPECT_TRUE(line.starts_with(family)) << line << " in family " << family;
    const auto space = line.rfind(' ');
    ASSERT_NE(space, std::string::npos) << line;
    EXPECT_TRUE(samples.insert(line.substr(0, space)).second) << "sample twice: " << line;
    char* end = nullptr;
    std::strtod(line.c_str() + space + 1, &end);
    EXPECT_EQ(*end, '\0') << line;
    const auto brace = line.find('{');
    if (brace != std::string::npos) {
      EXPECT_EQ(line[space - 1], '}') << line;
    }
  }
}

// Prometheus' own parser where it is installed: 1 for what it cannot parse, 3 for names it would not have
// chosen (response_latency_ms is Linkerd's).
void check_with_promtool(const std::string& text) {
  if (!have_promtool()) return;
  const std::string path = testing::TempDir() + "exposition-" + std::to_string(::getpid()) + ".txt";
  std::ofstream(path) << text;
  const int status = std::system(("promtool check metrics < " + path + " >/dev/null 2>&1").c_str());
  EXPECT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3)) << status << "\n"
                                                                                           << text;
  ::unlink(path.c_str());
}

TEST(Labels, EscapeWhatWouldEndThem) {
  EXPECT_EQ(render_label("a", "x\"y\\z\nw"), "a=\"x\\\"y\\\\z\\nw\"");
}

TEST(Labels, AreExposedOnceEach) {
  MetricsRegistry registry;
  auto telemetry = registry.make_telemetry();
  telemetry->tcp("a=\"1\",b=\"x,\\\"=\",a=\"2\"")->open_total.add(1);
  EXPECT_EQ(value(registry.expose(Format::prometheus), "tcp_open_total{a=\"1\",b=\"x,\\\"=\"}"), 1)
      << registry.expose(Format::prometheus);
}

TEST(Registry, AddsUpTheThreads) {
  MetricsRegistry registry;
  auto one = registry.make_telemetry();
  auto two = registry.make_telemetry();
  const Labels labels = "direction=\"outbound\",peer=\"src\"";
  one->tcp(labels)->open_total.add(3);
  two->tcp(labels)->open_total.add(4);
  two->tcp(labels)->open_connections.add(2);
  const auto text = registry.expose(Format::prometheus);
  EXPECT_EQ(value(text, "tcp_open_total{" + labels + "}"), 7) << text;
  EXPECT_EQ(value(text, "tcp_open_connections{" + labels + "}"), 2);
  check_exposition(text);
}

TEST(Registry, SpeaksLinkerdsNamesLabelsAndBuckets) {
  MetricsRegistry registry;
  auto telemetry = registry.make_telemetry();
  const Labels labels = "direction=\"outbound\",authority=\"web.shop.svc.cluster.local:80\",tls=\"true\"";
  auto series = telemetry->http(labels);
  series->requests.add(1);
  series->respond(200, -1, true, "", 7.5);
  series->respond(200, -1, true, "", 250);
  series->respond(503, -1, false, "failfast", 3000);
  series->respond(200, 14, false, "", 70'000);
  const auto text = registry.expose(Format::prometheus);
  EXPECT_EQ(value(text, "request_total{" + labels + "}"), 1) << text;
  EXPECT_EQ(value(text, "response_total{" + labels + ",classification=\"success\",status_code=\"200\"}"), 2);
  EXPECT_EQ(value(text, "response_total{" + labels +
                            ",classification=\"failure\",status_code=\"503\",error=\"failfast\"}"),
            1);
  EXPECT_EQ(value(text, "response_total{" + labels +
                            ",classification=\"failure\",status_code=\"200\",grpc_status_code=\"14\"}"),
            1);
  EXPECT_EQ(value(text, "response_latency_ms_bucket{" + labels + ",le=\"5\"}"), 0);
  EXPECT_EQ(value(text, "response_latency_ms_bucket{" + labels + ",le=\"10\"}"), 1);
  EXPECT_EQ(value(text, "response_latency_ms_bucket{" + labels + ",le=\"300\"}"), 2);
  EXPECT_EQ(value(text, "response_latency_ms_bucket{" + labels + ",le=\"50000\"}"), 3);
  EXPECT_EQ(value(text, "response_latency_ms_bucket{" + labels + ",le=\"+Inf\"}"), 4);
  EXPECT_EQ(value(text, "response_latency_ms_count{" + labels + "}"), 4);
  EXPECT_EQ(value(text, "response_latency_ms_sum{" + labels + "}"), 73257.5);
  for (const char* le :
       {"1",   "2",    "3",    "4",    "20",   "30",   "40",    "50",    "100",   "200",  "400",
        "500", "1000", "2000", "3000", "4000", "5000", "10000", "20000", "30000", "40000"}) {
    EXPECT_GE(value(text, "response_latency_ms_bucket{" + labels + ",le=\"" + le + "\"}"), 0) << le;
  }
  check_exposition(text);
  check_with_promtool(text);
}

TEST(Registry, ShowsOtherFamiliesAndTheProcess) {
  MetricsRegistry registry;
  auto telemetry = registry.make_telemetry();
  telemetry
      ->counter("outbound_tcp_protocol_connections_total", "By protocol", render_label("protocol", "http/1"))
      ->add(2);
  telemetry->histogram("detect_seconds", "Detection", {0.001, 0.1}, "")->observe(0.05);
  registry.add_collector([](Format) {
    return std::string("# HELP extra_total More\n# TYPE extra_total counter\nextra_total 5\n");
  });
  const auto text = registry.expose(Format::prometheus);
  EXPECT_EQ(value(text, "outbound_tcp_protocol_connections_total{protocol=\"http/1\"}"), 2) << text;
  EXPECT_EQ(value(text, "detect_seconds_bucket{le=\"0.1\"}"), 1);
  EXPECT_EQ(value(text, "detect_seconds_bucket{le=\"0.001\"}"), 0);
  EXPECT_EQ(value(text, "extra_total"), 5);
  EXPECT_NEAR(value(text, "process_start_time_seconds"), static_cast<double>(time(nullptr)), 600);
  EXPECT_GT(value(text, "process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value(text, "process_open_fds"), 2);
  EXPECT_GT(value(text, "process_max_fds"), 2);
  EXPECT_GE(value(text, "process_threads"), 1);
  check_exposition(text);
  check_with_promtool(text);
}

TEST(Registry, WritesOpenMetrics) {
  MetricsRegistry registry;
  auto telemetry = registry.make_telemetry();
  telemetry->tcp("peer=\"src\"")->open_total.add(1);
  const auto text = registry.expose(Format::open_metrics);
  EXPECT_NE(text.find("# TYPE tcp_open counter\n"), std::string::npos) << text;
  EXPECT_EQ(value(text, "tcp_open_total{peer=\"src\"}"), 1);
  EXPECT_TRUE(text.ends_with("# EOF\n"));
  check_exposition(text);
}

TEST(Registry, GathersWhatIsTooMuchInOneSeries) {
  MetricsRegistry registry({10, 600s});
  auto telemetry = registry.make_telemetry();
  for (int i = 0; i < 50; ++i) telemetry->tcp(render_label("n", std::to_string(i)))->open_total.add(1);
  const auto text = registry.expose(Format::prometheus);
  EXPECT_EQ(value(text, "tcp_open_total{overflow=\"true\"}"), 40) << text;
  EXPECT_EQ(value(text, "proxy_metrics_series_overflow_total"), 40);
  EXPECT_EQ(value(text, "proxy_metrics_series"), 11);
}

TEST(Registry, ForgetsWhatNobodyHasHeldForTenMinutes) {
  MetricsRegistry registry;
  auto telemetry = registry.make_telemetry();
  const auto now = std::chrono::steady_clock::now();
  const auto held = telemetry->tcp("a=\"held\"");
  telemetry->tcp("a=\"idle\"")->open_total.add(1);
  EXPECT_EQ(value(registry.expose(Format::prometheus, now + 9min), "tcp_open_total{a=\"idle\"}"), 1);
  const auto later = registry.expose(Format::prometheus, now + 11min);
  EXPECT_EQ(value(later, "tcp_open_total{a=\"idle\"}"), -1) << later;
  EXPECT_EQ(value(later, "tcp_open_total{a=\"held\"}"), 0);
}

TEST(Registry, NeverLowersACounterBecauseOneThreadWasIdle) {
  MetricsRegistry registry;
  auto busy = registry.make_telemetry();
  auto idle = registry.make_telemetry();
  const auto now = std::chrono::steady_clock::now();
  idle->tcp("a=\"b\"")->open_total.add(5);
  const auto held = busy->tcp("a=\"b\"");
  held->open_total.add(1);
  EXPECT_EQ(value(registry.expose(Format::prometheus, now + 60min), "tcp_open_total{a=\"b\"}"), 6);
}

TEST(Registry, IsReadWhileThreadsCount) {
  MetricsRegistry registry;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, telemetry = std::shared_ptr<Telemetry>(registry.make_telemetry())] {
      for (unsigned i = 0; !stop; ++i) {
        auto series = telemetry->http(render_label("n", std::to_string(i % 50)));
        series->requests.add(1);
        series->respond(static_cast<std::uint16_t>(200 + i % 90), -1, true, "", i % 100);
      }
    });
  }
  for (int i = 0; i < 30; ++i) check_exposition(registry.expose(Format::prometheus));
  stop = true;
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace heddle::proxy
