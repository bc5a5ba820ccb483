// SPDX-License-Identifier: Apache-2.0
#include "agent/plan.h"

#include <gtest/gtest.h>

#include <ostream>

namespace heddle::agent {

void PrintTo(Step step, std::ostream* out) {
  *out << to_string(step);
}

namespace {

Goal meshed(Mode mode, std::uint64_t generation) {
  return {Goal::Kind::meshed, mode, generation};
}
const Goal absent{};

std::vector<Goal> goals() {
  return {absent,
          Goal{Goal::Kind::known, Mode::ebpf, 1},
          Goal{Goal::Kind::known, Mode::ebpf, 2},
          meshed(Mode::ebpf, 1),
          meshed(Mode::ebpf, 2),
          meshed(Mode::iptables, 1),
          meshed(Mode::iptables, 3)};
}

// Every combination of facts, possible or not: a crash can leave the strangest.
std::vector<Progress> all_progress() {
  std::vector<Progress> out;
  for (int bits = 0; bits < 64; ++bits) {
    for (std::uint64_t generation = 0; generation < 3; ++generation) {
      Progress progress;
      progress.listening = bits & 1;
      progress.recorded = bits & 2;
      progress.offered = bits & 4;
      progress.prepared = bits & 8;
      progress.enrolled = bits & 16;
      progress.installed = bits & 32;
      progress.recorded_generation = generation;
      progress.offered_generation = generation;
      progress.applied_generation = generation;
      out.push_back(progress);
    }
  }
  return out;
}

bool redirects(Step step) {
  return step == Step::prepare || step == Step::enrol || step == Step::install;
}

// Carries a plan out as the reconciler does: one step, then a new plan.
Progress converge(Progress progress, const Goal& goal, std::vector<Step>* taken = nullptr) {
  for (int i = 0; i < 40; ++i) {
    const auto steps = plan(progress, goal);
    if (steps.empty()) return progress;
    if (taken != nullptr) taken->push_back(steps.front());
    progress = after(progress, steps.front(), goal);
  }
  ADD_FAILURE() << "no end in sight";
  return progress;
}

TEST(Plan, EnrolsInTheOrderListenRecordOfferPrepareEnrol) {
  EXPECT_EQ(plan({}, meshed(Mode::ebpf, 1)),
            (std::vector{Step::listen, Step::record, Step::offer, Step::prepare, Step::enrol}));
  EXPECT_EQ(plan({}, meshed(Mode::iptables, 1)),
            (std::vector{Step::listen, Step::record, Step::offer, Step::install}));
}

TEST(Plan, TakesDownInReverse) {
  for (const Mode mode : {Mode::ebpf, Mode::iptables}) {
    std::vector<Step> up;
    const Progress there = converge({}, meshed(mode, 1), &up);
    std::vector<Step> undone;
    for (auto step = up.rbegin(); step != up.rend(); ++step) undone.push_back(undo_of(*step));
    EXPECT_EQ(plan(there, absent), undone);
  }
}

TEST(Plan, ReleasesAPodThatLivesOnOnlyWhenItsPeersWereTold) {
  const Goal known{Goal::Kind::known, Mode::ebpf, 2};
  const Progress by_ebpf = converge({}, meshed(Mode::ebpf, 1), nullptr);
  EXPECT_EQ(plan(by_ebpf, known), (std::vector{Step::disenrol, Step::settle, Step::unprepare, Step::withdraw,
                                               Step::close, Step::record}));
  const Progress by_rules = converge({}, meshed(Mode::iptables, 1), nullptr);
  EXPECT_EQ(plan(by_rules, known),
            (std::vector{Step::settle, Step::uninstall, Step::withdraw, Step::close, Step::record}));
  // Wanted again meanwhile, the next release has to tell anew.
  const Progress again = converge(after(by_ebpf, Step::settle, known), meshed(Mode::ebpf, 3), nullptr);
  EXPECT_FALSE(again.settled);
}

TEST(Plan, UndoesAnyPrefixOfAnEnrolmentInReverse) {
  for (const Mode mode : {Mode::ebpf, Mode::iptables}) {
    const Goal goal = meshed(mode, 1);
    Progress progress;
    std::vector<Step> expected;
    for (const Step step : plan({}, goal)) {
      progress = after(progress, step, goal);
      expected.insert(expected.begin(), undo_of(step));
      EXPECT_EQ(plan(progress, absent), expected) << "after " << to_string(step);
    }
  }
}

TEST(Plan, ConvergesFromAnyStateToAnyGoalAndStays) {
  for (const auto& from : all_progress()) {
    for (const auto& goal : goals()) {
      const Progress there = converge(from, goal);
      EXPECT_TRUE(plan(there, goal).empty());
      const bool wanted = goal.kind == Goal::Kind::meshed;
      EXPECT_EQ(there.listening, wanted);
      EXPECT_EQ(there.offered, wanted);
      EXPECT_EQ(there.enrolled, wanted && goal.mode == Mode::ebpf);
      EXPECT_EQ(there.prepared, wanted && goal.mode == Mode::ebpf);
      EXPECT_EQ(there.installed, wanted && goal.mode == Mode::iptables);
      EXPECT_EQ(there.recorded, goal.kind != Goal::Kind::absent);
    }
  }
}

TEST(Plan, NeverRedirectsWithoutAListenerOrARecord) {
  for (const auto& from : all_progress()) {
    for (const auto& goal : goals()) {
      Progress progress = from;
      for (const Step step : plan(from, goal)) {
        if (redirects(step)) {
          EXPECT_TRUE(progress.listening) << to_string(step);
          EXPECT_TRUE(progress.recorded) << to_string(step);
        }
        progress = after(progress, step, goal);
      }
    }
  }
}

TEST(Plan, NeverClosesAListenerThatIsRedirectedTo) {
  for (const auto& from : all_progress()) {
    for (const auto& goal : goals()) {
      Progress progress = from;
      for (const Step step : plan(from, goal)) {
        if (step == Step::close || step == Step::withdraw || step == Step::forget) {
          EXPECT_FALSE(progress.enrolled || progress.prepared || progress.installed) << to_string(step);
        }
        progress = after(progress, step, goal);
      }
    }
  }
}

// A pod that is redirected and shall be stays redirected at every step, however that changes.
TEST(Plan, NeverOpensAGapBetweenOneWayOfRedirectingAndTheOther) {
  const auto is_redirected = [](const Progress& progress) {
    return (progress.prepared && progress.enrolled) || progress.installed;
  };
  for (const auto& from : all_progress()) {
    if (!is_redirected(from)) continue;
    for (const auto& goal : goals()) {
      if (goal.kind != Goal::Kind::meshed) continue;
      Progress progress = from;
      for (const Step step : plan(from, goal)) {
        progress = after(progress, step, goal);
        EXPECT_TRUE(is_redirected(progress)) << "after " << to_string(step);
      }
    }
  }
}

TEST(Plan, TakesTheOtherWayDownInReverseAfterwards) {
  EXPECT_EQ(plan(converge({}, meshed(Mode::ebpf, 1)), meshed(Mode::iptables, 2)),
            (std::vector{Step::record, Step::offer, Step::install, Step::disenrol, Step::unprepare}));
  EXPECT_EQ(plan(converge({}, meshed(Mode::iptables, 1)), meshed(Mode::ebpf, 2)),
            (std::vector{Step::record, Step::offer, Step::prepare, Step::enrol, Step::uninstall}));
}

TEST(Plan, ReplaysAfterACrashAtAnyPointToTheSameEnd) {
  for (const Mode mode : {Mode::ebpf, Mode::iptables}) {
    for (const Goal& goal : {meshed(mode, 1), absent}) {
      const Progress start = goal.kind == Goal::Kind::absent ? converge({}, meshed(mode, 1)) : Progress{};
      const auto steps = plan(start, goal);
      for (std::size_t crash = 0; crash <= steps.size(); ++crash) {
        Progress progress = start;
        for (std::size_t i = 0; i < crash; ++i) progress = after(progress, steps[i], goal);
        // What a new agent finds: descriptors and the proxy's view are gone, kernel objects and the file are
        // not.
        progress.listening = false;
        progress.offered = false;
        progress.applied_generation = 0;
        progress.enrolled = false;
        const Goal next = progress.recorded ? meshed(mode, 1) : absent;
        const Progress end = converge(progress, next);
        EXPECT_EQ(end.recorded, end.listening) << "crash after " << crash;
        EXPECT_EQ(end.prepared || end.installed, end.listening) << "crash after " << crash;
      }
    }
  }
}

TEST(Plan, KeepsTheRedirectionWhileItRenewsTheDescription) {
  const Progress there = converge({}, meshed(Mode::ebpf, 1));
  EXPECT_EQ(plan(there, meshed(Mode::ebpf, 2)), (std::vector{Step::record, Step::offer, Step::prepare}));
}

TEST(Plan, GivesARedirectionThatLostItsListenersNewOnesWithoutOpeningAGap) {
  Progress progress = converge({}, meshed(Mode::ebpf, 1));
  progress.listening = false;
  EXPECT_EQ(plan(progress, meshed(Mode::ebpf, 1)), (std::vector{Step::listen, Step::offer, Step::prepare}));
}

}  // namespace
}  // namespace heddle::agent
