// SPDX-License-Identifier: Apache-2.0
#include "agent/reconcile.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

namespace heddle::agent {
namespace {

// Performs at once, or when the test says so; fails where the test says so.
class Stage final : public Reconciler::Effects {
 public:
  void perform(const std::string& sandbox, Step step, const Goal&, Reconciler::Done done) override {
    done_.push_back(sandbox + ":" + std::string(to_string(step)));
    if (fail_ == step) {
      done(make_error(Errc::internal, "asked to fail"));
    } else if (hold_ == step) {
      held_.push_back(std::move(done));
    } else {
      done({});
    }
  }
  std::string text() {
    std::string out;
    for (const auto& entry : done_) out += (out.empty() ? "" : " ") + entry;
    done_.clear();
    return out;
  }
  void let_go(Result<> result = {}) {
    auto done = std::move(held_.front());
    held_.pop_front();
    done(std::move(result));
  }
  std::optional<Step> fail_;
  std::optional<Step> hold_;
  std::deque<Reconciler::Done> held_;

 private:
  std::vector<std::string> done_;
};

const Goal meshed{Goal::Kind::meshed, Mode::ebpf, 1};

struct Outcome {
  int calls = 0;
  Result<> result{};
  Reconciler::Done done() {
    return [this](const Result<>& value) {
      ++calls;
      result = value;
    };
  }
};

TEST(Reconcile, TakesTheStepsOfThePlanAndAnswersOnce) {
  Stage stage;
  Reconciler reconciler(stage);
  Outcome outcome;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, outcome.done());
  EXPECT_EQ(stage.text(), "a:listen a:record a:offer a:prepare a:enrol");
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_TRUE(outcome.result);
}

TEST(Reconcile, LeadsAFailedAddBackToNothingAndTellsTheFirstCause) {
  for (const Step failing : {Step::listen, Step::record, Step::offer, Step::prepare, Step::enrol}) {
    Stage stage;
    stage.fail_ = failing;
    Reconciler reconciler(stage);
    Outcome outcome;
    reconciler.converge("a", meshed, Reconciler::OnFailure::undo, outcome.done());
    EXPECT_EQ(outcome.calls, 1);
    ASSERT_FALSE(outcome.result);
    EXPECT_EQ(outcome.result.error().detail, "asked to fail");
    EXPECT_FALSE(reconciler.knows("a")) << to_string(failing);
  }
}

TEST(Reconcile, StaysWhereARunningPodFailedAndGoesOnWhenAskedAgain) {
  Stage stage;
  Reconciler reconciler(stage);
  Outcome first, second, third;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, first.done());
  stage.text();
  Goal changed = meshed;
  changed.generation = 2;
  stage.fail_ = Step::prepare;
  reconciler.converge("a", changed, Reconciler::OnFailure::keep, second.done());
  EXPECT_FALSE(second.result);
  EXPECT_TRUE(reconciler.progress("a").enrolled) << "no gap was opened";
  stage.fail_.reset();
  stage.text();
  reconciler.converge("a", changed, Reconciler::OnFailure::keep, third.done());
  EXPECT_EQ(stage.text(), "a:prepare");
  EXPECT_TRUE(third.result);
}

// Rules of one address family may be there when those of the other failed; a line of the state file is
// written with the next one.
TEST(Reconcile, TakesBackWhatAFailedStepMayHaveDoneWheneverThePodGoes) {
  const Goal by_rules{Goal::Kind::meshed, Mode::iptables, 1};
  struct Case {
    Goal goal;
    Step failing;
    std::string down;
  };
  for (const auto& [goal, failing, down] :
       {Case{meshed, Step::prepare, "a:unprepare a:withdraw a:forget a:close"},
        Case{by_rules, Step::install, "a:uninstall a:withdraw a:forget a:close"},
        Case{by_rules, Step::record, "a:forget a:close"}}) {
    Stage stage;
    stage.fail_ = failing;
    Reconciler reconciler(stage);
    Outcome up, gone;
    reconciler.converge("a", goal, Reconciler::OnFailure::keep, up.done());
    EXPECT_FALSE(up.result);
    stage.fail_.reset();
    stage.text();
    reconciler.converge("a", Goal{}, Reconciler::OnFailure::keep, gone.done());
    EXPECT_EQ(stage.text(), down);
    EXPECT_TRUE(gone.result);
  }
}

TEST(Reconcile, DoesAFailedStepAgainHoweverFarItCame) {
  for (const Mode mode : {Mode::ebpf, Mode::iptables}) {
    for (const Step failing : {Step::record, Step::prepare, Step::install}) {
      const Goal goal{Goal::Kind::meshed, mode, 1};
      Stage stage;
      Reconciler reconciler(stage);
      Outcome first, gone, second, third;
      reconciler.converge("a", goal, Reconciler::OnFailure::keep, first.done());
      reconciler.converge("a", {Goal::Kind::known, Mode::ebpf, 2}, Reconciler::OnFailure::keep, gone.done());
      stage.fail_ = failing;
      reconciler.converge("a", goal, Reconciler::OnFailure::keep, second.done());
      stage.text();
      stage.fail_.reset();
      reconciler.converge("a", goal, Reconciler::OnFailure::keep, third.done());
      EXPECT_TRUE(third.result);
      if (second.result) continue;  // not a step of this way
      EXPECT_TRUE(stage.text().starts_with("a:" + std::string(to_string(failing)))) << to_string(failing);
    }
  }
}

TEST(Reconcile, ForgetsTheRecordOfAnAddThatFailedAfterADelArrived) {
  Stage stage;
  stage.hold_ = Step::record;
  Reconciler reconciler(stage);
  Outcome add, del;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, add.done());
  reconciler.converge("a", Goal{}, Reconciler::OnFailure::keep, del.done());
  stage.text();
  stage.hold_.reset();
  stage.let_go(make_error(Errc::unavailable, "the disk is full"));
  EXPECT_EQ(stage.text(), "a:forget a:close");
  EXPECT_TRUE(del.result);
}

TEST(Reconcile, DoesNotLetOneSandboxWaitForAnother) {
  Stage stage;
  stage.hold_ = Step::offer;
  Reconciler reconciler(stage);
  Outcome a, b;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, a.done());
  reconciler.converge("b", meshed, Reconciler::OnFailure::undo, b.done());
  EXPECT_EQ(stage.text(), "a:listen a:record a:offer b:listen b:record b:offer");
  EXPECT_EQ(a.calls + b.calls, 0);
  stage.let_go();
  EXPECT_EQ(a.calls, 1);
  stage.let_go();
  EXPECT_EQ(b.calls, 1);
}

TEST(Reconcile, TurnsBackWhenADelArrivesDuringAnAdd) {
  Stage stage;
  stage.hold_ = Step::offer;
  Reconciler reconciler(stage);
  Outcome add, del;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, add.done());
  reconciler.converge("a", Goal{}, Reconciler::OnFailure::keep, del.done());
  EXPECT_EQ(add.calls, 1);
  EXPECT_EQ(add.result.error().code, make_error_code(Errc::unavailable));
  EXPECT_EQ(del.calls, 0) << "the running step ends first";
  stage.text();
  stage.let_go();
  EXPECT_EQ(stage.text(), "a:withdraw a:forget a:close");
  EXPECT_EQ(del.calls, 1);
  EXPECT_FALSE(reconciler.knows("a"));
}

TEST(Reconcile, AnswersEverybodyWhoAskedForTheSame) {
  Stage stage;
  stage.hold_ = Step::record;
  Reconciler reconciler(stage);
  Outcome first, second;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, first.done());
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, second.done());
  stage.let_go();
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 1);
  EXPECT_TRUE(second.result);
}

TEST(Reconcile, KeepsTheListenerWhenTheRedirectionCannotBeTakenAway) {
  Stage stage;
  Reconciler reconciler(stage);
  Outcome add, del;
  reconciler.converge("a", meshed, Reconciler::OnFailure::undo, add.done());
  stage.fail_ = Step::unprepare;
  reconciler.converge("a", Goal{}, Reconciler::OnFailure::keep, del.done());
  EXPECT_FALSE(del.result);
  EXPECT_TRUE(reconciler.progress("a").listening);
  EXPECT_TRUE(reconciler.progress("a").recorded);
  EXPECT_TRUE(reconciler.knows("a"));
}

}  // namespace
}  // namespace heddle::agent
