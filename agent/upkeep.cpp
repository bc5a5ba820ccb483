// SPDX-License-Identifier: Apache-2.0
// What goes on without the runtime: the source's changes, retries, namespaces that died without a DEL.
#include "agent/enrolment.h"
#include "agent/enrolment_waiting.h"
#include "agent/liveness.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds source_settles{20};
constexpr std::chrono::seconds gone_patience{30};

}  // namespace

void Enrolment::source_changed() {
  wake_waiting();
  if (!recovered_ || source_timer_) return;
  source_timer_ = loop_.after(source_settles, [this] {
    source_timer_.reset();
    apply_source();
  });
}

void Enrolment::apply_source() {
  for (const auto& id : registry_.ids()) {
    Sandbox& sandbox = *registry_.find(id);
    if (upkeep_[id].releasing || !redescribe(sandbox)) continue;
    if (sandbox.spec.meshed) {
      if (auto netns = netns_of(sandbox); netns && !sandbox.pinned) locate(sandbox, *netns);
    }
    spdlog::info("pod changed pod={}/{} container={} meshed={} reason=\"{}\"", sandbox.spec.ns,
                 sandbox.spec.name, id, sandbox.spec.meshed, sandbox.spec.reason);
    converge(id, Reconciler::OnFailure::keep, [](const Result<>&) {});
  }
  look_for_running();
}

void Enrolment::retry_failed() {
  const auto now = std::chrono::steady_clock::now();
  for (const auto& id : registry_.ids()) {
    Sandbox& sandbox = *registry_.find(id);
    if (sandbox.failure.empty() || reconciler_.busy(id)) continue;
    Upkeep& upkeep = upkeep_[id];
    if (now < upkeep.retry_at) continue;
    upkeep.retry_at = now + upkeep.backoff.next();
    converge(id, Reconciler::OnFailure::keep, [](const Result<>&) {});
  }
}

// Dead: the runtime's path is gone and nobody lives in the netns; only heddle's own descriptors keep it. In
// doubt it is alive: releasing a running pod would let it pass around the mesh.
bool Enrolment::is_alive(Sandbox& sandbox) {
  const HeldSockets* held = escrow_.find(sandbox.facts.container_id);
  if (held == nullptr || !held->netns) return is_alive_unseen(sandbox);
  const std::uint64_t ours = netns_inode(held->netns.get());
  const std::uint64_t there = netns_inode(sandbox.facts.netns_path);
  if (there == ours) return true;
  const bool gone = there != 0 || sandbox.facts.netns_path.empty() || is_removed(sandbox.facts.netns_path);
  if (gone && (sandbox.path_reachable || sandbox.facts.netns_path.empty()))
    return inhabited_netns().contains(ours);
  return !is_gone_from_source(sandbox) || inhabited_netns().contains(ours);
}

// No descriptor leads to the netns.
bool Enrolment::is_alive_unseen(const Sandbox& sandbox) {
  if (const Datapath* datapath = interception_.datapath();
      datapath != nullptr && datapath->netns_is_gone(sandbox.facts.netns_cookie)) {
    return false;
  }
  if (!sandbox.path_reachable && !sandbox.pinned) return true;  // it cannot be known
  const std::string path = netns_path(sandbox);
  const auto netns = open_netns(path);
  if (!netns) return !is_removed(path) && !is_gone_from_source(sandbox);
  const auto cookie = netns_cookie(netns->get());
  return cookie && *cookie == sandbox.facts.netns_cookie;
}

bool Enrolment::is_gone_from_source(const Sandbox& sandbox) const {
  const auto upkeep = upkeep_.find(sandbox.facts.container_id);
  if (upkeep == upkeep_.end()) return false;
  const auto gone = upkeep->second.gone_from_source;
  return gone != std::chrono::steady_clock::time_point{} &&
         std::chrono::steady_clock::now() - gone > gone_patience;
}

void Enrolment::sweep() {
  if (!recovered_) return;
  look_for_running();
  for (const auto& id : registry_.ids()) {
    Sandbox& sandbox = *registry_.find(id);
    if (reconciler_.busy(id) || upkeep_[id].releasing) continue;
    if (!is_alive(sandbox)) {
      ++totals_.abandoned;
      spdlog::warn("network namespace is gone without a DEL pod={}/{} container={} path={}", sandbox.spec.ns,
                   sandbox.spec.name, id, sandbox.facts.netns_path);
      release(id, [](const Result<>&) {});
      continue;
    }
    if (!sandbox.spec.meshed || !sandbox.failure.empty()) continue;
    if (sandbox.mode == Mode::iptables) continue;  // look_at_rules()
    if (auto verified = verify(sandbox); !verified) repair(sandbox, verified.error());
  }
}

void Enrolment::repair(Sandbox& sandbox, const Error& missing) {
  ++totals_.repaired;
  spdlog::warn("pod's interception was incomplete and is repaired pod={}/{} missing=\"{}\"", sandbox.spec.ns,
               sandbox.spec.name, missing.message());
  const std::string id = sandbox.facts.container_id;
  doubt(id);
  converge(id, Reconciler::OnFailure::keep, [](const Result<>&) {});
}

// Whoever has CAP_NET_ADMIN in a netns can flush its rules, and no kernel object remembers them. Where the
// kernel counts changes, each pod is asked for its count every five seconds or so; listing rules takes a
// process, so a turn does that for two pods at most.
void Enrolment::look_at_rules() {
  constexpr std::uint32_t turns_per_round = 5;
  constexpr int processes_per_turn = 2;
  std::uniform_int_distribution<int> turn_ms(800, 1200);  // agents of many nodes shall not march in step
  rules_timer_ = loop_.after(std::chrono::milliseconds(turn_ms(random_)), [this] { look_at_rules(); });
  if (!recovered_) return;
  std::vector<std::string> ids;
  for (const auto& [id, sandbox] : registry_.all()) {
    const bool by_rules = sandbox.spec.meshed && sandbox.mode == Mode::iptables;
    if (by_rules && sandbox.failure.empty() && !reconciler_.busy(id) && !upkeep_[id].releasing)
      ids.push_back(id);
  }
  // On from where the last turn ended, and around.
  std::rotate(ids.begin(), std::upper_bound(ids.begin(), ids.end(), rules_cursor_), ids.end());
  ids.resize((ids.size() + turns_per_round - 1) / turns_per_round);
  int processes = 0;
  for (const auto& id : ids) {
    rules_cursor_ = id;
    if (look_at_rules_of(*registry_.find(id)) && ++processes == processes_per_turn) return;
  }
}

void Enrolment::look_at_all_rules_again() {
  for (auto& [id, upkeep] : upkeep_) upkeep.rules_stamp.reset();
}

bool Enrolment::look_at_rules_of(Sandbox& sandbox) {
  auto redirect = interception_.redirect();
  const auto netns = netns_of(sandbox);
  if (!redirect || !netns) return false;  // the sweep and the next converge() tell
  Upkeep& upkeep = upkeep_[sandbox.facts.container_id];
  const auto stamp = (*redirect)->stamp(*netns);  // before looking: a change meanwhile is seen next time
  if (stamp && upkeep.rules_stamp == *stamp) {
    ++totals_.rules_unchanged;
    return false;
  }
  if (auto verified = verify(sandbox); !verified) {
    ++totals_.rules_repaired;
    upkeep.rules_stamp.reset();
    repair(sandbox, verified.error());
    return true;
  }
  ++totals_.rules_intact;
  upkeep.rules_stamp = stamp ? std::optional(*stamp) : std::nullopt;
  return true;
}

void Enrolment::release_all(std::function<void()> done) {
  auto left = std::make_shared<std::size_t>(registry_.size() + 1);
  const auto one_done = [left, done = std::move(done)] {
    if (--*left == 0) done();
  };
  for (const auto& id : registry_.ids()) {
    release(id, [one_done](const Result<>&) { one_done(); });
  }
  one_done();
}

}  // namespace heddle::agent
