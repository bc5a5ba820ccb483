// SPDX-License-Identifier: Apache-2.0
#include "proxy/balance/balancer.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace heddle::proxy {
namespace {

double nanoseconds(std::chrono::nanoseconds d) {
  return static_cast<double>(d.count());
}

// What is left of an estimate `age` after it was made.
double decayed(double value, std::chrono::nanoseconds age, std::chrono::nanoseconds decay) {
  if (age <= std::chrono::nanoseconds::zero()) return value;
  return value * std::exp(-nanoseconds(age) / nanoseconds(decay));
}

}  // namespace

Balancer::Balancer(Settings settings, std::uint64_t seed) : settings_(settings), state_(seed) {}

// splitmix64: every seed is good, a worker's balancers need not agree on anything.
std::uint64_t Balancer::random() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void Balancer::update(const std::vector<EndpointInfo>& set) {
  std::unordered_map<SocketAddress, EndpointRef> old;
  for (auto& endpoint : endpoints_) old.emplace(endpoint->info.address, std::move(endpoint));
  endpoints_.clear();
  endpoints_.reserve(set.size());
  std::unordered_map<SocketAddress, bool> seen;
  for (const auto& info : set) {
    if (!seen.emplace(info.address, true).second) continue;
    const auto it = old.find(info.address);
    if (it != old.end() && it->second->info == info) {
      endpoints_.push_back(std::move(it->second));
      old.erase(it);
    } else {
      endpoints_.push_back(std::make_shared<Endpoint>(info));
    }
  }
  for (auto& [address, endpoint] : old) endpoint->removed = true;
}

double Balancer::cost(const Endpoint& endpoint, Endpoint::Clock::time_point now) const {
  const bool sampled = endpoint.ewma_at != Endpoint::Clock::time_point{};
  double estimate = sampled ? decayed(endpoint.ewma_ns, now - endpoint.ewma_at, settings_.decay)
                            : nanoseconds(settings_.default_rtt);
  if (endpoint.pending > 0 && endpoint.silent_since != Endpoint::Clock::time_point{})
    estimate = std::max(estimate, nanoseconds(now - endpoint.silent_since));
  // After hours without a request nothing is left of it; what is in flight must count nevertheless.
  estimate = std::max(estimate, 1.0);
  return estimate * (endpoint.pending + 1.0);
}

namespace {

// Two different random candidates, `avoid` left out where another exists, and the better of the two.
template <class Random, class Better>
EndpointRef choose(const std::vector<EndpointRef>& all, const Endpoint* avoid, Random random, Better better) {
  if (all.empty()) return nullptr;
  std::size_t count = all.size();
  std::size_t avoided = count;
  if (avoid && count > 1) {
    const auto it = std::find_if(all.begin(), all.end(), [&](const auto& e) { return e.get() == avoid; });
    if (it != all.end()) {
      avoided = static_cast<std::size_t>(it - all.begin());
      --count;
    }
  }
  // Indices are drawn from the list without the avoided one.
  const auto at = [&](std::size_t i) -> const EndpointRef& { return all[i + (i >= avoided ? 1 : 0)]; };
  if (count == 1) return at(0);
  const std::size_t first = random() % count;
  std::size_t second = random() % (count - 1);
  if (second >= first) ++second;
  return better(*at(second), *at(first)) ? at(second) : at(first);
}

}  // namespace

EndpointRef Balancer::pick_for_request(Endpoint::Clock::time_point now, const Endpoint* avoid) {
  // The default is an estimate like any other and decays from the first look on: an endpoint beside a faster
  // one that keeps winning would otherwise never be tried.
  const auto begin = [&](Endpoint& endpoint) {
    if (endpoint.ewma_at != Endpoint::Clock::time_point{}) return;
    endpoint.ewma_ns = nanoseconds(settings_.default_rtt);
    endpoint.ewma_at = now;
  };
  auto picked = choose(
      endpoints_, avoid, [this] { return random(); },
      [&](Endpoint& a, Endpoint& b) {
        begin(a);
        begin(b);
        return cost(a, now) < cost(b, now);
      });
  if (picked) begin(*picked);
  if (picked && picked->pending == 0) picked->silent_since = now;
  return picked;
}

EndpointRef Balancer::pick_for_connection(const Endpoint* avoid) {
  return choose(
      endpoints_, avoid, [this] { return random(); },
      [](const Endpoint& a, const Endpoint& b) { return a.connections < b.connections; });
}

void Balancer::end(Endpoint& endpoint, std::chrono::nanoseconds rtt, Endpoint::Clock::time_point now) {
  if (endpoint.pending > 0) --endpoint.pending;
  const double sample = std::max(0.0, nanoseconds(rtt));
  if (endpoint.ewma_at == Endpoint::Clock::time_point{}) {
    endpoint.ewma_ns = nanoseconds(settings_.default_rtt);
    endpoint.ewma_at = now - rtt;
  }
  const auto age = now - endpoint.ewma_at;
  const double weight = age > std::chrono::nanoseconds::zero()
                            ? std::exp(-nanoseconds(age) / nanoseconds(settings_.decay))
                            : 1.0;
  const double old = endpoint.ewma_ns * weight;
  // A peak counts at once and in full, an improvement only as the old estimate fades.
  endpoint.ewma_ns = sample > old ? sample : old + sample * (1.0 - weight);
  endpoint.ewma_at = std::max(now, endpoint.ewma_at);
  endpoint.silent_since = now;
}

}  // namespace heddle::proxy
