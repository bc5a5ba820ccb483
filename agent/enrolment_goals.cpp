// SPDX-License-Identifier: Apache-2.0
// What a sandbox shall be, and the ways there.
#include "agent/enrolment.h"
#include "agent/enrolment_waiting.h"
#include "agent/liveness.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds retry_tick{500};
constexpr std::chrono::milliseconds sweep_period{10'000};

}  // namespace

Enrolment::Enrolment(Parts parts)
    : loop_(parts.loop),
      interception_(parts.interception),
      store_(parts.store),
      directory_(parts.directory),
      node_(std::move(parts.node)),
      pins_(std::move(parts.pins)),
      release_settle_(parts.release_settle),
      registry_(HEDDLE_MAX_PODS),
      reconciler_(*this) {
  retry_timer_ = loop_.every(retry_tick, [this] { retry_failed(); });
  sweep_timer_ = loop_.every(sweep_period, [this] { sweep(); });
  look_at_rules();
}

Enrolment::~Enrolment() {
  *alive_ = false;
}

std::string Enrolment::netns_path(const Sandbox& sandbox) const {
  return sandbox.pinned ? pin_path(sandbox) : sandbox.facts.netns_path;
}

std::string Enrolment::pin_path(const Sandbox& sandbox) const {
  return pins_ + "/" + sandbox.facts.container_id;
}

bool Enrolment::redescribe(Sandbox& sandbox) {
  const SandboxFacts& facts = sandbox.facts;
  if (!facts.pod_name.empty()) {
    auto found = directory_.find(facts.pod_namespace.empty() ? "default" : facts.pod_namespace,
                                 facts.pod_name, facts.pod_uid);
    Upkeep& upkeep = upkeep_[facts.container_id];
    if (found) {
      upkeep.seen_in_source = true;
      upkeep.gone_from_source = {};
      sandbox.facts.source = std::move(found);
    } else if (upkeep.seen_in_source && upkeep.gone_from_source == std::chrono::steady_clock::time_point{}) {
      // Deleted while its sandbox still runs down: it stays what it was.
      upkeep.gone_from_source = std::chrono::steady_clock::now();
    }
  }
  PodSpec spec = describe(facts, node_);
  if (spec == sandbox.spec) {
    sandbox.spec.reason = std::move(spec.reason);
    return false;
  }
  for (const auto& complaint : spec.settings.complaints) {
    spdlog::warn("{} pod={}/{} next=\"correct it; the default holds meanwhile\"", complaint, spec.ns,
                 spec.name);
  }
  sandbox.spec = std::move(spec);
  ++sandbox.generation;
  for (const auto& complaint : sandbox.spec.settings.complaints) {
    if (!sandbox.spec.meshed) break;
    tell(sandbox, EventReason::annotation_ignored, complaint + ". Correct it; its default holds meanwhile.");
  }
  return true;
}

void Enrolment::record_anew(Sandbox& sandbox) {
  if (!redescribe(sandbox)) ++sandbox.generation;
}

// Pod id, mode and ports: whatever a meshed sandbox needs before its plan can run.
Result<> Enrolment::prepare_numbers(Sandbox& sandbox) {
  auto choice = interception_.choose(sandbox.spec.settings.interception);
  if (!choice) return choice.error();
  if (auto assigned = registry_.assign_id(sandbox); !assigned) return assigned;
  if (sandbox.mode != choice->mode) ++sandbox.generation;
  sandbox.mode = choice->mode;
  sandbox.mode_reason = std::move(choice->reason);
  if (sandbox.outbound_port == 0 || !reconciler_.progress(sandbox.facts.container_id).listening) {
    sandbox.outbound_port = sandbox.spec.settings.outbound_port;
    sandbox.inbound_port = sandbox.spec.settings.inbound_port;
  }
  return {};
}

// How a later agent finds the netns again.
void Enrolment::locate(Sandbox& sandbox, int netns_fd) {
  sandbox.path_reachable = netns_inode(sandbox.facts.netns_path) == netns_inode(netns_fd);
  if (sandbox.path_reachable || sandbox.pinned) return;
  auto pinned = pin_netns(netns_fd, pin_path(sandbox));
  sandbox.pinned = static_cast<bool>(pinned);
  if (!pinned) {
    spdlog::warn(
        "network namespace cannot be found again after a restart container={} path={} error=\"{}\" "
        "next=\"mount the runtime's netns folder into the agent\"",
        sandbox.facts.container_id, sandbox.facts.netns_path, pinned.error().message());
  }
}

void Enrolment::doubt(const std::string& id) {
  Progress progress = reconciler_.progress(id);
  progress.enrolled = false;
  progress.applied_generation = 0;
  const Sandbox& sandbox = *registry_.find(id);
  const HeldSockets* held = escrow_.find(id);
  if (progress.listening &&
      (held == nullptr || !check_listener(held->outbound.get(), sandbox.outbound_port) ||
       !check_listener(held->inbound.get(), sandbox.inbound_port))) {
    // A proxy shares the socket and can end it for everybody (shutdown(2)). Nobody is to be given it any
    // more.
    links_->withdraw(sandbox.pod_id, sandbox.facts.netns_cookie, ProxyLinks::Withdrawal::gone);
    progress.listening = progress.offered = false;
  }
  reconciler_.assume(id, progress);
}

Goal Enrolment::goal_of(const Sandbox& sandbox) const {
  const auto upkeep = upkeep_.find(sandbox.facts.container_id);
  if (upkeep != upkeep_.end() && upkeep->second.releasing) return {};
  if (!sandbox.spec.meshed) return {Goal::Kind::known, Mode::ebpf, sandbox.generation};
  return {Goal::Kind::meshed, sandbox.mode, sandbox.generation};
}

void Enrolment::converge(const std::string& id, Reconciler::OnFailure on_failure, Reconciler::Done done) {
  Sandbox& sandbox = *registry_.find(id);
  if (goal_of(sandbox).kind == Goal::Kind::meshed) {
    if (auto numbers = prepare_numbers(sandbox); !numbers) {
      note_failure(sandbox, numbers.error());
      done(numbers);
      return;
    }
  }
  const Goal goal = goal_of(sandbox);
  reconciler_.converge(id, goal, on_failure, [this, id, done = std::move(done)](const Result<>& result) {
    after_converge(id, result);
    done(result);
  });
}

void Enrolment::release(const std::string& id, Reconciler::Done done) {
  upkeep_[id].releasing = true;
  converge(id, Reconciler::OnFailure::keep, std::move(done));
}

void Enrolment::after_converge(const std::string& id, const Result<>& result) {
  Sandbox* sandbox = registry_.find(id);
  if (sandbox == nullptr) return;
  Upkeep& upkeep = upkeep_[id];
  if (!reconciler_.knows(id)) {
    // Nothing is left: released, or an ADD was taken back.
    if (upkeep.releasing) {
      ++totals_.released;
      spdlog::info("sandbox released pod={}/{} container={} pod_id={}", sandbox->spec.ns, sandbox->spec.name,
                   id, sandbox->pod_id);
    }
    escrow_.close(id);
    // A proxy may still have connections of it from before it was released.
    if (sandbox->pod_id != 0)
      links_->withdraw(sandbox->pod_id, sandbox->facts.netns_cookie, ProxyLinks::Withdrawal::gone);
    if (sandbox->pinned) unpin_netns(pin_path(*sandbox));
    upkeep_.erase(id);
    registry_.erase(id);
    return;
  }
  if (reconciler_.busy(id)) return;
  if (result) {
    sandbox->failure.clear();
    upkeep.backoff.reset();
    tell_of_success(*sandbox, upkeep);
    return;
  }
  if (reconciler_.goal(id).kind == Goal::Kind::absent)
    upkeep.releasing = true;  // taking an ADD back failed half-way
  note_failure(*sandbox, result.error());
}

void Enrolment::tell(const Sandbox& sandbox, EventReason reason, std::string message) {
  if (!witness_ || !sandbox.facts.source || sandbox.facts.pod_name.empty()) return;
  witness_({sandbox.spec.ns, sandbox.spec.name, sandbox.facts.source->uid}, reason, std::move(message));
}

// Once per change, not once per repair; what an agent before this one did is not told again.
void Enrolment::tell_of_success(const Sandbox& sandbox, Upkeep& upkeep) {
  if (sandbox.spec.meshed == upkeep.told_meshed) return;
  upkeep.told_meshed = sandbox.spec.meshed;
  if (!sandbox.spec.meshed) {
    tell(sandbox, EventReason::released, "Not meshed any more: " + sandbox.spec.reason + ".");
  } else if (!upkeep.taken_over) {
    tell(sandbox, EventReason::enrolled,
         "Meshed by " + std::string(to_string(sandbox.mode)) + ": " + sandbox.spec.reason + ".");
  }
  upkeep.taken_over = false;
}

// Tried again later (retry_failed()).
void Enrolment::note_failure(Sandbox& sandbox, const Error& error) {
  Upkeep& upkeep = upkeep_[sandbox.facts.container_id];
  const auto wait = upkeep.backoff.next();
  upkeep.retry_at = std::chrono::steady_clock::now() + wait;
  if (sandbox.failure != error.message()) {
    spdlog::error(
        "sandbox is not what it shall be pod={}/{} container={} goal={} error=\"{}\" next=\"tried again in "
        "{} ms\"",
        sandbox.spec.ns, sandbox.spec.name, sandbox.facts.container_id,
        upkeep.releasing      ? "released"
        : sandbox.spec.meshed ? "meshed"
                              : "known",
        error.message(), wait.count());
    tell(sandbox, EventReason::interception_failed,
         (sandbox.spec.meshed ? "Cannot be meshed: " : "Cannot be released: ") + error.message() +
             ". It is tried again; `heddle check` on node " + node_.node_name + " tells more.");
  }
  sandbox.failure = error.message();
}

}  // namespace heddle::agent
