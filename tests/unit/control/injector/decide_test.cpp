// SPDX-License-Identifier: Apache-2.0
#include "control/injector/decide.h"

#include <gmock/gmock.h>

#include "reviews.h"

namespace heddle::test {
namespace {

using namespace control;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

source::Namespace space(source::Labels annotations) {
  source::Namespace out;
  out.meta.name = "rec";
  out.meta.annotations = std::move(annotations);
  return out;
}

AdmissionRequest pod(source::Labels annotations = {}) {
  auto request = read_recorded("pod");
  request.pod.has_annotations = !annotations.empty();
  request.pod.meta.annotations = std::move(annotations);
  return request;
}

InjectorDecision decide(const AdmissionRequest& request, const source::Namespace& ns) {
  return decide_injection({}, request, &ns);
}

void expect_left(const InjectorDecision& decision, InjectorOutcome outcome) {
  EXPECT_EQ(decision.outcome, outcome);
  EXPECT_THAT(decision.answer.annotations, IsEmpty());
}

TEST(Injection, MarksPodsOfNamespacesThatAskForIt) {
  for (const char* word : {"enabled", "ingress"}) {
    const auto decision = decide(pod(), space({{"linkerd.io/inject", word}}));
    EXPECT_EQ(decision.outcome, InjectorOutcome::node);
    EXPECT_THAT(decision.answer.annotations, ElementsAre(Pair("heddle.io/mode", "node")));
    EXPECT_THAT(decision.answer.warnings, IsEmpty());
  }
}

TEST(Injection, LetsThePodDecideBeforeItsNamespace) {
  const auto enabled = space({{"linkerd.io/inject", "enabled"}});
  expect_left(decide(pod({{"linkerd.io/inject", "disabled"}}), enabled), InjectorOutcome::not_asked);
  EXPECT_EQ(decide(pod({{"linkerd.io/inject", "enabled"}}), space({})).outcome, InjectorOutcome::node);
  expect_left(decide(pod(), space({})), InjectorOutcome::not_asked);
}

TEST(Injection, LeavesAMarkThatIsThere) {
  const auto decision = decide(pod({{"heddle.io/mode", "node"}}), space({{"linkerd.io/inject", "enabled"}}));
  expect_left(decision, InjectorOutcome::node);
}

TEST(Injection, WarnsOfWordsItDoesNotKnow) {
  const auto inject = decide(pod({{"linkerd.io/inject", "yes"}}), space({}));
  expect_left(inject, InjectorOutcome::not_asked);
  EXPECT_THAT(inject.answer.warnings, ElementsAre(HasSubstr("rec/bare")));
  const auto mode = decide(pod({{"heddle.io/mode", "ambient"}}), space({{"linkerd.io/inject", "enabled"}}));
  EXPECT_THAT(mode.answer.annotations, ElementsAre(Pair("heddle.io/mode", "node")));
  EXPECT_THAT(mode.answer.warnings, ElementsAre(HasSubstr("neither node nor sidecar")));
}

TEST(Injection, SaysThatThereAreNoSidecarsWhereOneIsAskedFor) {
  const auto ns = space({{"linkerd.io/inject", "enabled"}, {"heddle.io/mode", "sidecar"}});
  const auto decision = decide(pod(), ns);
  expect_left(decision, InjectorOutcome::sidecar_missing);
  EXPECT_THAT(decision.answer.warnings, ElementsAre(HasSubstr("cannot inject one")));
}

TEST(Injection, HandsPodsOverToWhatMakesSidecars) {
  struct Sidecars : SidecarInjection {
    InjectorDecision inject(const AdmissionRequest& request, const source::Namespace* ns) override {
      asked = request.ns + "/" + ns->meta.name;
      return {InjectorOutcome::sidecar, {}};
    }
    std::string asked;
  } sidecars;
  const auto ns = space({{"linkerd.io/inject", "enabled"}, {"heddle.io/mode", "sidecar"}});
  EXPECT_EQ(decide_injection({"heddle", &sidecars}, pod(), &ns).outcome, InjectorOutcome::sidecar);
  EXPECT_EQ(sidecars.asked, "rec/rec");
}

TEST(Injection, KeepsAwayFromTheSystemAndFromItself) {
  const auto ns = space({{"linkerd.io/inject", "enabled"}});
  for (const char* name : {"kube-system", "heddle"}) {
    auto request = pod({{"linkerd.io/inject", "enabled"}});
    request.ns = name;
    expect_left(decide(request, ns), InjectorOutcome::excluded);
  }
}

TEST(Injection, SkipsTheHostsNetworkAndWarnsWhoAskedForThatVeryPod) {
  const auto ns = space({{"linkerd.io/inject", "enabled"}});
  auto asked = pod({{"linkerd.io/inject", "enabled"}});
  asked.pod.host_network = true;
  const auto warned = decide(asked, ns);
  expect_left(warned, InjectorOutcome::host_network);
  EXPECT_THAT(warned.answer.warnings, ElementsAre(HasSubstr("host's network")));
  auto inherited = pod();
  inherited.pod.host_network = true;
  EXPECT_THAT(decide(inherited, ns).answer.warnings, IsEmpty());
}

TEST(Injection, SkipsPodsThatLinkerdHasInjected) {
  auto request = pod();
  request.pod.containers.emplace_back("linkerd-proxy");
  expect_left(decide(request, space({{"linkerd.io/inject", "enabled"}})), InjectorOutcome::already_injected);
}

TEST(Injection, OfANamespaceNotSeenYetIsLeftToTheAgent) {
  expect_left(decide_injection({}, pod(), nullptr), InjectorOutcome::unknown_namespace);
  EXPECT_EQ(decide_injection({}, pod({{"linkerd.io/inject", "enabled"}}), nullptr).outcome,
            InjectorOutcome::node);
}

TEST(Injection, NeverBlocksWhatItCannotRead) {
  auto request = pod();
  request.complaint = "metadata is not a map";
  const auto decision = decide(request, space({{"linkerd.io/inject", "enabled"}}));
  expect_left(decision, InjectorOutcome::unreadable);
  EXPECT_THAT(decision.answer.warnings, ElementsAre(HasSubstr("metadata is not a map")));
  expect_left(decide(read_recorded("deployment"), space({{"linkerd.io/inject", "enabled"}})),
              InjectorOutcome::not_a_pod);
}

TEST(Injection, ReadsEveryKindOfOwner) {
  const auto ns = space({{"linkerd.io/inject", "enabled"}});
  for (const char* name : {"pod_of_generate_name", "pod_of_replica_set", "pod_of_job"}) {
    EXPECT_EQ(decide(read_recorded(name), ns).outcome, InjectorOutcome::node) << name;
  }
}

}  // namespace
}  // namespace heddle::test
