// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "tools/demonstration/steps.h"
#include "tools/output/table.h"

namespace heddle::tools {
namespace {

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, share < 0.1 ? "%.1f %%" : "%.0f %%", share * 100);
  return text;
}

Result<LoadResult> greet(const Stage& stage) {
  auto load = stage.load("client", {"mariadb.demo:3306", "--mode", "greeting", "-n", "40"});
  if (!load) return load.error();
  if (load->failed() != 0) return make_error(Errc::unavailable, "MariaDB's greeting: " + load->failures());
  return load;
}

// A steady stream of new connections, as clients without keep-alive and short-lived jobs make them.
Result<LoadResult> spread(const Stage& stage) {
  return stage.load("client",
                    {"http://web.demo/", "--per-request", "-c", "48", "--rate", "400", "-t", "2.5"});
}

}  // namespace

Result<Finding> greeting_direct(Stage& stage, Baseline& baseline) {
  auto load = greet(stage);
  if (!load) return load.error();
  baseline.greeting_p50_ms = load->latency("p50");
  Finding out;
  out.ok = true;
  out.measured = {
      {"p50_ms", load->latency("p50")}, {"max_ms", load->latency("max")}, {"connections", load->requests()}};
  out.text = "first byte after " + duration_text(load->latency("p50")) + " (p50)";
  return out;
}

Result<Finding> greeting_meshed(Stage& stage, Baseline& baseline) {
  auto load = greet(stage);
  if (!load) return load.error();
  Finding out;
  // The wait this guards against is ten seconds; anything near a second means detection waited for the
  // client.
  out.ok = load->latency("max") < 1000;
  out.measured = {{"p50_ms", load->latency("p50")},
                  {"max_ms", load->latency("max")},
                  {"direct_p50_ms", baseline.greeting_p50_ms},
                  {"connections", load->requests()}};
  out.text = "first byte after " + duration_text(load->latency("p50")) + " (direct " +
             duration_text(baseline.greeting_p50_ms) + "), worst of 40 " +
             duration_text(load->latency("max"));
  return out;
}

Result<Finding> balance_by_connection(Stage& stage, Baseline& baseline) {
  auto load = spread(stage);
  if (!load) return load.error();
  baseline.slow_share = load->backend_share("web-slow");
  baseline.p99_ms = load->latency("p99");
  Finding out;
  out.ok = load->failed() == 0;
  out.measured = {{"requests", load->requests()},      {"failed", load->failed()},
                  {"slow_share", baseline.slow_share}, {"p50_ms", load->latency("p50")},
                  {"p90_ms", load->latency("p90")},    {"p99_ms", baseline.p99_ms}};
  out.text = "the slow server gets " + percent(baseline.slow_share) + " of " +
             std::to_string(load->requests()) + " requests, p99 " + duration_text(baseline.p99_ms);
  return out;
}

Result<Finding> balance_by_request(Stage& stage, Baseline& baseline) {
  auto load = spread(stage);
  if (!load) return load.error();
  const double share = load->backend_share("web-slow");
  Finding out;
  out.ok = load->failed() == 0 && share < baseline.slow_share / 2;
  out.measured = {{"requests", load->requests()},
                  {"failed", load->failed()},
                  {"slow_share", share},
                  {"p50_ms", load->latency("p50")},
                  {"p90_ms", load->latency("p90")},
                  {"p99_ms", load->latency("p99")},
                  {"slow_share_before", baseline.slow_share},
                  {"p99_ms_before", baseline.p99_ms}};
  out.text = "the slow server gets " + percent(share) + " (was " + percent(baseline.slow_share) + "), p90 " +
             duration_text(load->latency("p90")) + ", p99 " + duration_text(load->latency("p99")) + " (was " +
             duration_text(baseline.p99_ms) + ")";
  if (load->failed() != 0) out.text += "; " + load->failures();
  return out;
}

namespace {

// Load on kept and on new connections while `event` happens a second into it.
Result<Finding> under_load(Stage& stage, const std::function<Result<>()>& event) {
  auto kept = stage.start_load("client", {"http://far.demo/", "-c", "8", "--rate", "400", "-t", "3.5"});
  auto fresh = stage.start_load(
      "client", {"http://far.demo/", "--per-request", "-c", "8", "--rate", "200", "-t", "3.5"});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto begin = std::chrono::steady_clock::now();
  const auto happened = event();
  const double back_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  auto first = kept.get();
  auto second = fresh.get();
  if (!happened) return happened.error();
  if (!first) return first.error();
  if (!second) return second.error();
  Finding out;
  const auto requests = first->requests() + second->requests();
  const auto failed = first->failed() + second->failed();
  const double worst = std::max(first->latency("max"), second->latency("max"));
  const double resent = first->report.at("resent").to_number<double>();
  out.ok = failed == 0 && requests > 500;
  out.measured = {{"requests", requests},
                  {"failed", failed},
                  {"resent", resent},
                  {"max_ms", worst},
                  {"back_after_ms", back_ms}};
  out.text = std::to_string(failed) + " of " + std::to_string(requests) + " requests failed, slowest " +
             duration_text(worst) + ", back after " + duration_text(back_ms);
  if (first->failed() != 0) out.text += "; kept connections: " + first->failures();
  if (second->failed() != 0) out.text += "; new connections: " + second->failures();
  return out;
}

}  // namespace

Result<Finding> agent_killed(Stage& stage, Baseline&) {
  return under_load(stage, [&] { return lab_restart(stage.layout(), "agent", "", true); });
}

Result<Finding> proxy_replaced(Stage& stage, Baseline&) {
  return under_load(stage, [&] { return lab_restart(stage.layout(), "proxy", "", false); });
}

Result<Finding> interception_cost(Stage& ebpf, Stage& iptables) {
  constexpr int rounds = 4;
  const std::vector<std::string> load{"http://far.demo/", "--per-request", "-c", "4", "-n", "1000"};
  std::vector<double> costs[2];
  std::uint64_t failed = 0;
  Stage* stages[2] = {&ebpf, &iptables};
  for (int round = -1; round < rounds; ++round) {  // the first warms caches and pools and is not counted
    for (int i = 0; i < 2; ++i) {
      const auto which = (round + 1) % 2 == 0 ? i : 1 - i;  // neither always goes first
      const auto before = stages[which]->cpu_seconds();
      auto result = stages[which]->load("client", load);
      const auto after = stages[which]->cpu_seconds();
      if (!result) return result.error();
      if (!before || !after) return (before ? after : before).error();
      failed += result->failed();
      if (round >= 0)
        costs[which].push_back((*after - *before) * 1e6 / static_cast<double>(result->requests()));
    }
  }
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
  };
  const double with_ebpf = median(costs[0]);
  const double with_iptables = median(costs[1]);
  Finding out;
  out.ok = failed == 0 && with_iptables > 0 && with_ebpf / with_iptables < 1.1;
  out.measured = {{"ebpf_us_per_connection", with_ebpf},
                  {"iptables_us_per_connection", with_iptables},
                  {"ratio", with_ebpf / with_iptables},
                  {"rounds", rounds},
                  {"failed", failed}};
  char text[160];
  std::snprintf(text, sizeof text,
                "%.0f µs of CPU per connection, client and server included; iptables %.0f µs (%.2fx)",
                with_ebpf, with_iptables, with_ebpf / with_iptables);
  out.text = text;
  return out;
}

}  // namespace heddle::tools
