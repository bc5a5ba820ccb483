// SPDX-License-Identifier: Apache-2.0
// After a restart: what the state file, the pinned maps and the proxies know becomes one picture again, and
// what is missing in it is put right in place. Pods are never deleted for it.
#include "agent/enrolment.h"
#include "agent/enrolment_waiting.h"
#include "agent/liveness.h"
#include "api/node.pb.h"
#include "base/io/netns.h"

namespace heddle::agent {

void Enrolment::recover(std::vector<Sandbox> saved, bool lost) {
  state_lost_ = lost;
  for (auto& sandbox : saved) take_over(std::move(sandbox));
  spdlog::info("sandboxes taken over known={} state_lost={}", registry_.size(), lost);
}

void Enrolment::take_over(Sandbox saved) {
  const std::string id = saved.facts.container_id;
  const bool was_meshed = saved.spec.meshed;
  const std::uint64_t cookie = saved.facts.netns_cookie;
  auto inserted = registry_.insert(std::move(saved));
  if (!inserted) {
    spdlog::error("sandbox of the state file dropped error=\"{}\"", inserted.error().message());
    return;
  }
  Sandbox& sandbox = **inserted;
  sandbox.spec = {};
  upkeep_[id].taken_over = was_meshed;
  store_.assume(sandbox);
  Progress progress;
  progress.recorded = true;
  progress.installed = sandbox.rules;
  progress.prepared = progress.enrolled = is_redirected(cookie);
  reconciler_.assume(id, progress);
  if (was_meshed) {
    // Fails when the path is gone; the proxy's listeners may still lead to it (adopt()).
    (void)static_cast<bool>(netns_of(sandbox));
  }
  redescribe(sandbox);
  sandbox.generation = 1;
}

bool Enrolment::wants_listeners() const {
  return std::any_of(registry_.all().begin(), registry_.all().end(), [this](const auto& entry) {
    return entry.second.spec.meshed && !reconciler_.progress(entry.first).listening;
  });
}

bool Enrolment::is_redirected(std::uint64_t cookie) const {
  const Datapath* datapath = interception_.datapath();
  return datapath != nullptr && datapath->has(cookie);
}

// The proxy's memory replaces the state file's, except for the container's id. False: nobody lives in the
// netns.
bool Enrolment::rebuild(std::uint64_t cookie, const node::Pod& pod, int listener) {
  auto netns = netns_of_socket(listener);
  if (!netns || !inhabited_netns().contains(netns_inode(netns->get()))) return false;
  Sandbox rebuilt;
  rebuilt.facts.container_id = std::string(recovered_prefix) + std::to_string(cookie);
  rebuilt.facts.netns_cookie = cookie;
  rebuilt.facts.pod_namespace = pod.namespace_().substr(0, 253);
  rebuilt.facts.pod_name = pod.name().substr(0, 253);
  rebuilt.facts.pod_uid = pod.uid().substr(0, 253);
  rebuilt.facts.annotations["linkerd.io/inject"] = "enabled";  // it was meshed, and stays so
  rebuilt.facts.attachments.push_back({"eth0", "", {}});
  for (const auto& text : pod.ips()) {
    if (auto ip = IpAddress::parse(text)) rebuilt.facts.attachments.front().ips.push_back(*ip);
  }
  rebuilt.pod_id = pod.id();
  rebuilt.mode = pod.interception() == node::IPTABLES ? Mode::iptables : Mode::ebpf;
  rebuilt.outbound_port = static_cast<std::uint16_t>(pod.outbound_port());
  rebuilt.inbound_port = static_cast<std::uint16_t>(pod.inbound_port());
  rebuilt.rules = rebuilt.mode == Mode::iptables;
  rebuilt.spec.meshed = true;
  spdlog::warn("sandbox rebuilt from the proxy's memory pod={}/{} pod_id={}", pod.namespace_(), pod.name(),
               pod.id());
  take_over(std::move(rebuilt));
  return true;
}

bool Enrolment::adopt(const node::Pod& pod, Fd outbound, Fd inbound) {
  const auto cookie = socket_netns_cookie(inbound.get());
  const auto other = socket_netns_cookie(outbound.get());
  if (!cookie || !other || *cookie != *other) return false;
  const Sandbox* found = registry_.find_cookie(*cookie);
  if (found == nullptr && state_lost_ && (!recovered_ || is_redirected(*cookie))) {
    if (!rebuild(*cookie, pod, inbound.get())) return false;
    found = registry_.find_cookie(*cookie);
  }
  if (found == nullptr) return false;
  const std::string id = found->facts.container_id;
  Progress progress = reconciler_.progress(id);
  if (progress.listening) return true;  // the agent's own are as good: the proxy is given those
  if (!found->spec.meshed || reconciler_.busy(id)) return found->spec.meshed;
  if (!check_listener(outbound.get(), found->outbound_port) ||
      !check_listener(inbound.get(), found->inbound_port)) {
    spdlog::warn("listeners given back by a proxy are not the pod's container={}", id);
    return true;
  }
  HeldSockets* held = escrow_.find(id);
  if (held == nullptr) held = &escrow_.keep(id, {});
  if (!held->netns) {
    if (auto netns = netns_of_socket(inbound.get())) held->netns = std::move(*netns);
  }
  held->outbound = std::move(outbound);
  held->inbound = std::move(inbound);
  progress.listening = true;
  reconciler_.assume(id, progress);
  // After recovery: the pod waited for exactly this (its ports were taken, by the proxy's copies).
  if (!recovered_) return true;
  ++adopting_;
  converge(id, Reconciler::OnFailure::keep, [this](const Result<>&) {
    if (--adopting_ > 0) return;
    const auto waiters = std::exchange(adopted_waiters_, {});
    for (const auto& then : waiters) then();
  });
  return true;
}

void Enrolment::when_adopted(std::function<void()> then) {
  if (adopting_ == 0) {
    then();
  } else {
    adopted_waiters_.push_back(std::move(then));
  }
}

void Enrolment::remove_orphans(bool lost) {
  Datapath* datapath = interception_.datapath();
  if (datapath == nullptr) return;
  for (const auto& [cookie, pod_id] : datapath->pods()) {
    if (registry_.find_cookie(cookie) != nullptr) continue;
    if (lost) {
      spdlog::error(
          "a redirected pod is not in the state file cookie={} pod_id={} next=\"recreate the pod; until then "
          "its new connections are refused\"",
          cookie, pod_id);
      continue;
    }
    InterceptedPod orphan;
    orphan.id = pod_id;
    orphan.netns_cookie = cookie;
    auto removed = datapath->remove(orphan);
    spdlog::info("leftover of an unfinished enrolment removed cookie={} pod_id={} ok={}", cookie, pod_id,
                 static_cast<bool>(removed));
  }
}

// An ADD that did not live to be recorded leaves its pin, which would keep the netns for ever.
void Enrolment::remove_stale_pins() {
  for (const auto& name : pinned_names(pins_)) {
    const Sandbox* sandbox = registry_.find(name);
    if (sandbox != nullptr && sandbox->pinned) continue;
    spdlog::info("pin of an unknown network namespace removed path={}/{}", pins_, name);
    unpin_netns(pins_ + "/" + name);
  }
}

// Decides whether the redirection that is there can stay as it is.
void Enrolment::verify_recovered(Sandbox& sandbox) {
  const std::string& id = sandbox.facts.container_id;
  Progress progress = reconciler_.progress(id);
  const bool same_mode = sandbox.mode == Mode::ebpf ? progress.enrolled : progress.installed;
  if (!progress.listening || !same_mode) {
    doubt(id);
    return;
  }
  if (auto verified = verify(sandbox); !verified) {
    ++totals_.repaired;
    spdlog::warn("pod's interception was incomplete and is repaired pod={}/{} missing=\"{}\"",
                 sandbox.spec.ns, sandbox.spec.name, verified.error().message());
    doubt(id);
    return;
  }
  progress.applied_generation = sandbox.generation;
  reconciler_.assume(id, progress);
}

void Enrolment::finish_recovery(std::function<void()> done) {
  auto left = std::make_shared<std::size_t>(1);
  const auto one_done = [left, done = std::move(done)] {
    if (--*left > 0) return;
    done();
  };
  recovered_ = true;
  for (const auto& id : registry_.ids()) {
    Sandbox& sandbox = *registry_.find(id);
    ++*left;
    if (!is_alive(sandbox)) {
      ++totals_.abandoned;
      spdlog::info("sandbox went while the agent was away pod={}/{} container={}", sandbox.spec.ns,
                   sandbox.spec.name, id);
      release(id, [one_done](const Result<>&) { one_done(); });
      continue;
    }
    if (sandbox.spec.meshed && prepare_numbers(sandbox)) verify_recovered(sandbox);
    converge(id, Reconciler::OnFailure::keep, [one_done](const Result<>&) { one_done(); });
  }
  remove_orphans(state_lost_);
  remove_stale_pins();
  look_for_running();
  one_done();
}

}  // namespace heddle::agent
