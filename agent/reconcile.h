// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/plan.h"
#include "base/result.h"

namespace heddle::agent {

// Carries out plans, step by step, for many sandboxes at once: while one waits for the proxy's
// acknowledgement the others go on. One plan per sandbox runs at a time; a new goal is taken up when the
// running step ends.
class Reconciler {
 public:
  using Done = std::function<void(Result<>)>;

  // Does one step for one sandbox. `done` is called exactly once, at once or later, on the loop.
  class Effects {
   public:
    virtual ~Effects() = default;
    virtual void perform(const std::string& sandbox, Step step, const Goal& goal, Done done) = 0;
  };

  enum class OnFailure : std::uint8_t {
    keep,  // stay where it failed; the caller tries again later (running pods: never open a gap)
    undo,  // lead back to absent (an ADD that fails leaves nothing behind)
  };

  explicit Reconciler(Effects& effects) : effects_(effects) {}

  // Leads the sandbox to `goal`; `done` hears how it ended. A later goal supersedes this one: its waiters
  // then get Errc::unavailable unless the new goal is the same.
  void converge(const std::string& sandbox, const Goal& goal, OnFailure on_failure, Done done);

  // What is known to be there already (after a restart). Only while nothing runs for the sandbox.
  void assume(const std::string& sandbox, const Progress& progress);
  Progress progress(const std::string& sandbox) const;
  // The goal last set; absent when unknown.
  Goal goal(const std::string& sandbox) const;
  bool busy(const std::string& sandbox) const;
  // False once nothing is left of it and nothing is wanted of it.
  bool knows(const std::string& sandbox) const { return sandboxes_.contains(sandbox); }
  std::size_t size() const { return sandboxes_.size(); }

 private:
  struct State {
    Progress progress;
    Goal goal;
    OnFailure on_failure = OnFailure::keep;
    bool running = false;
    bool undoing = false;
    Error cause;  // of the undoing
    struct Waiter {
      Goal goal;
      Done done;
    };
    std::vector<Waiter> waiters;
  };

  void run(const std::string& sandbox);
  void finished(const std::string& sandbox, Step step, const Goal& goal, const Result<>& result);
  void settle(const std::string& sandbox, const Result<>& result);

  Effects& effects_;
  std::unordered_map<std::string, State> sandboxes_;
};

}  // namespace heddle::agent
