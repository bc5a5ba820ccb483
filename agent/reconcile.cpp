// SPDX-License-Identifier: Apache-2.0
#include "agent/reconcile.h"

namespace heddle::agent {
namespace {

// A failed step may have done a part of its work (rules of one address family, a line that the next write of
// the state file carries): it is done again on the way up, and taken back on the way down.
void note_half_done(Progress& progress, Step step) {
  if (step == Step::prepare) progress.prepared = true;
  if (step == Step::install) progress.installed = true;
  if (step == Step::prepare || step == Step::install) progress.applied_generation = 0;
  if (step == Step::record) {
    progress.recorded = true;
    progress.recorded_generation = 0;
  }
}

}  // namespace

void Reconciler::converge(const std::string& sandbox, const Goal& goal, OnFailure on_failure, Done done) {
  State& state = sandboxes_[sandbox];
  std::vector<State::Waiter> superseded;
  if (!(state.goal == goal)) superseded.swap(state.waiters);
  state.goal = goal;
  state.on_failure = on_failure;
  state.undoing = false;
  state.waiters.push_back({goal, std::move(done)});
  const bool running = state.running;
  for (auto& waiter : superseded) {
    waiter.done(make_error(Errc::unavailable, "superseded by a later request for the same sandbox"));
  }
  if (!running) run(sandbox);
}

void Reconciler::assume(const std::string& sandbox, const Progress& progress) {
  sandboxes_[sandbox].progress = progress;
}

Progress Reconciler::progress(const std::string& sandbox) const {
  const auto found = sandboxes_.find(sandbox);
  return found == sandboxes_.end() ? Progress{} : found->second.progress;
}

Goal Reconciler::goal(const std::string& sandbox) const {
  const auto found = sandboxes_.find(sandbox);
  return found == sandboxes_.end() ? Goal{} : found->second.goal;
}

bool Reconciler::busy(const std::string& sandbox) const {
  const auto found = sandboxes_.find(sandbox);
  return found != sandboxes_.end() && found->second.running;
}

void Reconciler::run(const std::string& sandbox) {
  const auto found = sandboxes_.find(sandbox);
  if (found == sandboxes_.end() || found->second.running) return;
  State& state = found->second;
  const Goal goal = state.undoing ? Goal{} : state.goal;
  const auto steps = plan(state.progress, goal);
  if (steps.empty()) {
    settle(sandbox, state.undoing ? Result<>(state.cause) : Result<>());
    return;
  }
  state.running = true;
  const Step step = steps.front();
  effects_.perform(sandbox, step, goal, [this, sandbox, step, goal](const Result<>& result) {
    finished(sandbox, step, goal, result);
  });
}

void Reconciler::finished(const std::string& sandbox, Step step, const Goal& goal, const Result<>& result) {
  State& state = sandboxes_[sandbox];
  state.running = false;
  if (result) {
    state.progress = after(state.progress, step, goal);
    run(sandbox);
    return;
  }
  note_half_done(state.progress, step);
  const Goal current = state.undoing ? Goal{} : state.goal;
  if (!(current == goal)) {
    run(sandbox);  // it failed for a goal nobody has any more
    return;
  }
  if (!state.undoing && state.on_failure == OnFailure::undo && goal.kind != Goal::Kind::absent) {
    state.undoing = true;
    state.cause = result.error();
    run(sandbox);
    return;
  }
  // An undo that fails keeps its first cause: that is what the caller can act on.
  settle(sandbox, state.undoing ? Result<>(state.cause) : Result<>(result.error()));
}

void Reconciler::settle(const std::string& sandbox, const Result<>& result) {
  const auto found = sandboxes_.find(sandbox);
  if (found == sandboxes_.end()) return;
  State& state = found->second;
  std::vector<State::Waiter> waiters;
  waiters.swap(state.waiters);
  if (state.undoing) {
    state.undoing = false;
    state.goal = Goal{};
  }
  if (plan(state.progress, Goal{}).empty() && state.goal.kind == Goal::Kind::absent) sandboxes_.erase(found);
  for (auto& waiter : waiters) waiter.done(result);
}

}  // namespace heddle::agent
