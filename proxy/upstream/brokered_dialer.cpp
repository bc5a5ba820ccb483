// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/brokered_dialer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "proxy/upstream/brokered_dial.h"

namespace heddle::proxy {
namespace {

constexpr std::uint32_t idle_reserve = 1;  // of a family that is not used
constexpr std::uint32_t used_reserve = 4;  // of one that is: for the agent's absence
constexpr std::uint32_t least_grown = 8;   // of one that did not suffice
constexpr std::uint32_t most_reserve = 64;
constexpr std::chrono::milliseconds look_interval{2'000};
constexpr unsigned looks_until_shrunk = 5;

}  // namespace

BrokeredDialer::BrokeredDialer(Loop& loop, Request request)
    : loop_(loop),
      request_(std::move(request)),
      shrink_timer_(loop, [this] { shrink(); }),
      returns_(std::make_shared<Returns>()) {
  returns_->dialer = this;
  shrink_timer_.arm(look_interval);
}

BrokeredDialer::~BrokeredDialer() {
  returns_->dialer = nullptr;
  for (auto& [id, reserves] : pods_) {
    for (Reserve& reserve : reserves.family) {
      for (BrokeredDial* dial : reserve.waiting) dial->orphan();
    }
  }
}

BrokeredDialer::Reserve* BrokeredDialer::find(std::uint32_t pod_id, bool ipv6) {
  const auto found = pods_.find(pod_id);
  return found == pods_.end() ? nullptr : &found->second.family[ipv6 ? 1 : 0];
}

std::unique_ptr<Dialer::Pending> BrokeredDialer::dial(DialRequest request, Done done) {
  const std::uint32_t pod_id = request.pod->id;
  const bool ipv6 = !request.to.ip.is_v4();
  auto dial = std::make_unique<BrokeredDial>(*this, loop_, std::move(request), std::move(done));
  Reserve* reserve = find(pod_id, ipv6);
  if (reserve == nullptr) {
    dial->fail_later(make_error(Errc::unavailable, "the pod left this node"));
    return dial;
  }
  // At this rate already now, not only at the next look: a refill costs the same for few sockets as for many.
  if (++reserve->used > reserve->target)
    reserve->target = std::clamp(reserve->used, least_grown, most_reserve);
  if (reserve->sockets.empty()) {
    reserve->target = std::clamp(reserve->target * 2, least_grown, most_reserve);
    dial->wait_in(reserve->waiting);
  } else {
    Spare spare = std::move(reserve->sockets.back());
    reserve->sockets.pop_back();
    reserve->target = std::max(reserve->target, used_reserve);
    dial->connect(std::move(spare));
  }
  refill(pod_id, ipv6, *reserve);
  return dial;
}

void BrokeredDialer::refill(std::uint32_t pod_id, bool ipv6, Reserve& reserve) {
  const auto have = static_cast<std::uint32_t>(reserve.sockets.size());
  const auto needed = reserve.target + static_cast<std::uint32_t>(reserve.waiting.size());
  // In use, a refill starts when half of the reserve is gone: one message brings many.
  if (have + reserve.outstanding > reserve.target / 2 && reserve.waiting.empty()) return;
  if (have + reserve.outstanding >= needed) return;
  const std::uint32_t count = std::min(needed - have - reserve.outstanding, std::uint32_t{200});
  reserve.outstanding += count;
  reserve.wanted = true;
  request_(pod_id, ipv6, count);
}

void BrokeredDialer::pod_upserted(const PodRef& pod) {
  PodReserves& reserves = pods_[pod->id];
  if (reserves.pod && reserves.pod->netns_cookie != pod->netns_cookie) pod_removed(pod->id);
  PodReserves& current = pods_[pod->id];
  const PodRef before = std::exchange(current.pod, pod);
  current.share =
      loop_.share(pod->netns_cookie, pod->load->limits.cpu_weight.load(std::memory_order_relaxed));
  // Sockets are tagged for one way of redirecting, marked for the other.
  if (before && before->interception != pod->interception) renew(pod->id);
  for (const bool ipv6 : {false, true}) {
    Reserve& reserve = current.family[ipv6 ? 1 : 0];
    const bool has = std::any_of(pod->ips.begin(), pod->ips.end(),
                                 [ipv6](const IpAddress& ip) { return ip.is_v4() != ipv6; });
    if (has && !reserve.wanted) refill(pod->id, ipv6, reserve);
  }
}

ShareRef BrokeredDialer::share_of(std::uint32_t pod_id) const {
  const auto found = pods_.find(pod_id);
  return found == pods_.end() ? ShareRef() : found->second.share;
}

void BrokeredDialer::renew(std::uint32_t pod_id) {
  const auto found = pods_.find(pod_id);
  if (found == pods_.end()) return;
  next_generation();
  for (const bool ipv6 : {false, true}) {
    Reserve& reserve = found->second.family[ipv6 ? 1 : 0];
    reserve.sockets.clear();
    if (reserve.wanted) refill(pod_id, ipv6, reserve);
  }
}

void BrokeredDialer::pod_removed(std::uint32_t pod_id) {
  const auto found = pods_.find(pod_id);
  if (found == pods_.end()) return;
  // Out of the table first: who is told of the failure may dial again.
  PodReserves reserves = std::move(found->second);
  pods_.erase(found);
  for (Reserve& reserve : reserves.family) {
    fail_waiting(reserve, make_error(Errc::unavailable, "the pod left this node"));
  }
}

void BrokeredDialer::fail_waiting(Reserve& reserve, const Error& error) {
  while (!reserve.waiting.empty()) reserve.waiting.front()->fail_later(error);
}

void BrokeredDialer::add_sockets(std::uint32_t pod_id, bool ipv6, std::vector<Fd> sockets,
                                 const std::string& error) {
  Reserve* reserve = find(pod_id, ipv6);
  if (reserve == nullptr) return;
  const auto count = static_cast<std::uint32_t>(sockets.size());
  reserve->outstanding -= std::min(reserve->outstanding, count);
  if (!error.empty()) {
    reserve->outstanding = 0;
    fail_waiting(*reserve,
                 make_error(Errc::unavailable, "the agent cannot make sockets in the pod: " + error));
    return;
  }
  for (Fd& socket : sockets) add(*reserve, {std::move(socket), generation_, false});
  refill(pod_id, ipv6, *reserve);
}

void BrokeredDialer::add(Reserve& reserve, Spare spare) {
  if (reserve.waiting.empty()) {
    reserve.sockets.push_back(std::move(spare));
  } else {
    reserve.waiting.front()->connect(std::move(spare));
  }
}

void BrokeredDialer::Returns::give_back(Fd socket, const SocketOrigin& origin) {
  if (dialer != nullptr) dialer->give_back(std::move(socket), origin);
}

void BrokeredDialer::give_back(Fd socket, const SocketOrigin& origin) {
  const auto found = pods_.find(origin.pod_id);
  if (found == pods_.end() || found->second.pod->netns_cookie != origin.netns_cookie) return;
  Reserve& reserve = found->second.family[origin.ipv6];
  if (origin.generation != generation_ || reserve.sockets.size() >= reserve.target) return;
  add(reserve, {std::move(socket), origin.generation, origin.shows_client != 0});
}

void BrokeredDialer::next_generation() {
  generation_ = (generation_ + 1) & SocketOrigin::last_generation;
}

void BrokeredDialer::agent_ready() {
  next_generation();
  for (auto& [id, reserves] : pods_) {
    for (const bool ipv6 : {false, true}) {
      Reserve& reserve = reserves.family[ipv6 ? 1 : 0];
      reserve.outstanding = 0;
      if (reserve.wanted) refill(id, ipv6, reserve);
    }
  }
}

void BrokeredDialer::shrink() {
  for (auto& [id, reserves] : pods_) {
    for (Reserve& reserve : reserves.family) {
      // What the last interval used is what the agent's absence for as long would take.
      const bool idle = reserve.target > used_reserve ? reserve.used < reserve.target / 4 : reserve.used == 0;
      reserve.target = std::clamp(reserve.used, reserve.target, std::max(most_reserve, reserve.target));
      reserve.used = 0;
      reserve.idle_looks = idle ? reserve.idle_looks + 1 : 0;
      if (reserve.idle_looks < looks_until_shrunk) continue;
      reserve.idle_looks = 0;
      reserve.target =
          reserve.target > used_reserve ? std::max(used_reserve, reserve.target / 2) : idle_reserve;
      // The rest was needed by a burst that is over.
      if (reserve.sockets.size() > reserve.target) reserve.sockets.resize(reserve.target);
    }
  }
  shrink_timer_.arm(look_interval);
}

std::size_t BrokeredDialer::reserved(std::uint32_t pod_id, bool ipv6) const {
  const auto found = pods_.find(pod_id);
  return found == pods_.end() ? 0 : found->second.family[ipv6 ? 1 : 0].sockets.size();
}

}  // namespace heddle::proxy
