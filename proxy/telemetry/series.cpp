// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {
namespace {

// Linkerd's, so that its dashboards' quantiles come out the same.
const std::vector<double>& latency_bounds() {
  static const std::vector<double> bounds{1,    2,    3,      4,      5,      10,     20,    30,   40,
                                          50,   100,  200,    300,    400,    500,    1000,  2000, 3000,
                                          4000, 5000, 10'000, 20'000, 30'000, 40'000, 50'000};
  return bounds;
}

}  // namespace

std::string render_label(std::string_view name, std::string_view value) {
  std::string out;
  out.reserve(name.size() + value.size() + 3);
  out.append(name).append("=\"");
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out.append("\\n");
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

Histogram::Histogram(const std::vector<double>& upper_bounds)
    : bounds_(upper_bounds), buckets_(std::make_unique<Cell[]>(upper_bounds.size() + 1)) {}

void Histogram::observe(double value) {
  const auto it = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  buckets_[static_cast<std::size_t>(it - bounds_.begin())].add(1);
  sum_.store(sum_.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

double Histogram::sum() const {
  return sum_.load(std::memory_order_relaxed);
}

HttpSeries::HttpSeries() : latency_ms(latency_bounds()) {}

HttpSeries::~HttpSeries() {
  for (const Response* r = head_.load(std::memory_order_acquire); r;) {
    const Response* next = r->next;
    delete r;
    r = next;
  }
}

void HttpSeries::respond(std::uint16_t status, std::int16_t grpc_status, bool success, std::string_view error,
                         double ms) {
  // Statuses come from servers: beyond this many kinds they are counted together as status 0.
  constexpr unsigned max_kinds = 64;
  unsigned kinds = 0;
  for (Response* r = head_.load(std::memory_order_relaxed); r; r = const_cast<Response*>(r->next), ++kinds) {
    if (r->status != status || r->grpc_status != grpc_status || r->success != success || r->error != error)
      continue;
    r->count.add(1);
    latency_ms.observe(ms);
    return;
  }
  if (kinds > max_kinds && status != 0) return respond(0, -1, success, "other", ms);
  auto* added = new Response{
      status, grpc_status, success, std::string(error), {}, head_.load(std::memory_order_relaxed)};
  added->count.add(1);
  head_.store(added, std::memory_order_release);
  latency_ms.observe(ms);
}

}  // namespace heddle::proxy
