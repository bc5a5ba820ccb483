// SPDX-License-Identifier: Apache-2.0
#include "agent/plan.h"

namespace heddle::agent {

std::string_view to_string(Mode mode) {
  return mode == Mode::ebpf ? "ebpf" : "iptables";
}

std::string_view to_string(Step step) {
  switch (step) {
    case Step::listen:
      return "listen";
    case Step::record:
      return "record";
    case Step::offer:
      return "offer";
    case Step::prepare:
      return "prepare";
    case Step::enrol:
      return "enrol";
    case Step::install:
      return "install";
    case Step::disenrol:
      return "disenrol";
    case Step::settle:
      return "settle";
    case Step::unprepare:
      return "unprepare";
    case Step::uninstall:
      return "uninstall";
    case Step::withdraw:
      return "withdraw";
    case Step::close:
      return "close";
    case Step::forget:
      return "forget";
  }
  return "unknown";
}

Step undo_of(Step step) {
  switch (step) {
    case Step::listen:
      return Step::close;
    case Step::record:
      return Step::forget;
    case Step::offer:
      return Step::withdraw;
    case Step::prepare:
      return Step::unprepare;
    case Step::enrol:
      return Step::disenrol;
    case Step::install:
      return Step::uninstall;
    default:
      return step;
  }
}

namespace {

// Un-redirects, and only then takes away what was led to.
std::vector<Step> plan_down(const Progress& progress, const Goal& goal) {
  std::vector<Step> steps;
  if (progress.enrolled) steps.push_back(Step::disenrol);
  // A pod that lives on: its peers hear of it from discovery, and until then ask it for mutual TLS.
  const bool lives_on = goal.kind == Goal::Kind::known;
  if (lives_on && !progress.settled && (progress.prepared || progress.installed))
    steps.push_back(Step::settle);
  if (progress.prepared) steps.push_back(Step::unprepare);
  if (progress.installed) steps.push_back(Step::uninstall);
  if (progress.offered) steps.push_back(Step::withdraw);
  if (progress.recorded && goal.kind == Goal::Kind::absent) steps.push_back(Step::forget);
  if (progress.listening) steps.push_back(Step::close);
  if (goal.kind == Goal::Kind::absent) return steps;
  if (!progress.recorded || progress.recorded_generation != goal.generation) steps.push_back(Step::record);
  return steps;
}

std::vector<Step> plan_up(const Progress& progress, const Goal& goal) {
  std::vector<Step> steps;
  if (!progress.listening) steps.push_back(Step::listen);
  if (!progress.recorded || progress.recorded_generation != goal.generation) steps.push_back(Step::record);
  // A redirection that survived both escrows has nothing to select and drops (fail closed): it stays, and the
  // new listener is put into it.
  const bool renew = !progress.listening || progress.applied_generation != goal.generation;
  if (!progress.offered || !progress.listening || progress.offered_generation != goal.generation) {
    steps.push_back(Step::offer);
  }
  // The old way goes when the new one is there: meanwhile what arrives may be refused, but nothing passes by.
  if (goal.mode == Mode::ebpf) {
    if (!progress.prepared || renew) steps.push_back(Step::prepare);
    if (!progress.enrolled) steps.push_back(Step::enrol);  // a renewed entry stays enrolled
    if (progress.installed) steps.push_back(Step::uninstall);
  } else {
    if (!progress.installed || renew) steps.push_back(Step::install);
    if (progress.enrolled) steps.push_back(Step::disenrol);
    if (progress.prepared) steps.push_back(Step::unprepare);
  }
  return steps;
}

}  // namespace

std::vector<Step> plan(const Progress& progress, const Goal& goal) {
  return goal.kind == Goal::Kind::meshed ? plan_up(progress, goal) : plan_down(progress, goal);
}

Progress after(Progress progress, Step step, const Goal& goal) {
  switch (step) {
    case Step::listen:
      // New listeners: whoever had the old ones has to be told.
      progress.listening = true;
      progress.offered = false;
      progress.applied_generation = 0;
      break;
    case Step::record:
      progress.recorded = true;
      progress.recorded_generation = goal.generation;
      break;
    case Step::offer:
      progress.offered = true;
      progress.offered_generation = goal.generation;
      break;
    case Step::prepare:
      progress.prepared = true;
      progress.settled = false;
      progress.applied_generation = goal.generation;
      break;
    case Step::enrol:
      progress.enrolled = true;
      progress.settled = false;
      break;
    case Step::install:
      progress.installed = true;
      progress.settled = false;
      progress.applied_generation = goal.generation;
      break;
    case Step::disenrol:
      progress.enrolled = false;
      break;
    case Step::settle:
      progress.settled = true;
      break;
    case Step::unprepare:
      progress.prepared = false;
      break;
    case Step::uninstall:
      progress.installed = false;
      break;
    case Step::withdraw:
      progress.offered = false;
      break;
    case Step::close:
      progress.listening = false;
      break;
    case Step::forget:
      progress.recorded = false;
      break;
  }
  return progress;
}

}  // namespace heddle::agent
