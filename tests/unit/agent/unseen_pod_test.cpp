// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/unseen_pod.h"

#include <gtest/gtest.h>

#include "agent/pods/pod_cgroup.h"

namespace heddle::agent {
namespace {

class UnseenPod : public ::testing::Test {
 protected:
  UnseenPod() {
    facts.pod_namespace = "shop";
    facts.pod_name = "web";
    answer.problem = "the API server is away";
  }
  bool starts(bool told = true) { return may_start_unseen(facts, told, answer, node).has_value(); }
  std::string reason(bool told = true) {
    const auto may = may_start_unseen(facts, told, answer, node);
    return may ? "" : may.error().message();
  }

  SandboxFacts facts;
  PodAnswer answer;
  NodeFacts node;
};

TEST_F(UnseenPod, DoesNotStartWhileNothingIsKnown) {
  EXPECT_FALSE(starts());
  EXPECT_NE(reason().find("the API server is away"), std::string::npos) << reason();
}

TEST_F(UnseenPod, StartsWhenItsOwnAnnotationRulesTheMeshOut) {
  facts.annotations["linkerd.io/inject"] = "disabled";
  EXPECT_TRUE(starts());
  answer.namespace_annotations = Annotations{{"linkerd.io/inject", "enabled"}};
  EXPECT_TRUE(starts()) << "the pod's word is above its namespace's";
}

TEST_F(UnseenPod, DoesNotStartWhenItAsksForTheMeshAsItsServiceAccountIsNotKnown) {
  facts.annotations["linkerd.io/inject"] = "enabled";
  answer.namespace_annotations = Annotations{};
  EXPECT_FALSE(starts());
  EXPECT_NE(reason().find("ServiceAccount"), std::string::npos) << reason();
}

TEST_F(UnseenPod, IsDecidedByItsNamespaceOnlyIfTheRuntimeTellsThatItSaysNothing) {
  answer.namespace_annotations = Annotations{};
  EXPECT_TRUE(starts(true));
  EXPECT_FALSE(starts(false));
  answer.namespace_annotations = Annotations{{"linkerd.io/inject", "enabled"}};
  EXPECT_FALSE(starts(true));
  answer.namespace_annotations = Annotations{{"linkerd.io/inject", "disabled"}};
  EXPECT_TRUE(starts(true));
  EXPECT_FALSE(starts(false)) << "the pod may ask for it";
}

TEST_F(UnseenPod, StartsInAnExcludedNamespaceWhateverItSays) {
  facts.annotations["linkerd.io/inject"] = "enabled";
  facts.pod_namespace = "kube-system";
  EXPECT_TRUE(starts(false));
  facts.pod_namespace = node.control_namespace;
  EXPECT_TRUE(starts(false));
}

const std::set<std::string, std::less<>> wanted{"8d7f-1", "0a1b"};

TEST(PodCgroup, IsFoundAsTheKubeletNamesItWithoutSystemd) {
  EXPECT_EQ(pod_of_cgroup("0::/kubepods/burstable/pod8d7f-1/abc\n", wanted), "8d7f-1");
  EXPECT_EQ(pod_of_cgroup("0::/kubepods/pod0a1b\n", wanted), "0a1b");
  EXPECT_EQ(pod_of_cgroup("0::/../../kubepods/besteffort/pod0a1b/x", wanted), "0a1b");
}

TEST(PodCgroup, IsFoundAsSystemdNamesIt) {
  EXPECT_EQ(pod_of_cgroup("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8d7f_1.slice/"
                          "cri-containerd-abc.scope\n",
                          wanted),
            "8d7f-1");
  EXPECT_EQ(pod_of_cgroup("0::/kubepods.slice/kubepods-pod8d7f_1.slice\n", wanted), "8d7f-1");
}

TEST(PodCgroup, IsFoundBelowAKubeletsOwnRoot) {
  EXPECT_EQ(pod_of_cgroup("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
                          "kubelet-kubepods-besteffort-pod8d7f_1.slice/cri-containerd-abc.scope\n",
                          wanted),
            "8d7f-1");
  EXPECT_EQ(pod_of_cgroup("0::/kubelet/kubepods/burstable/pod0a1b/x\n", wanted), "0a1b");
  EXPECT_EQ(pod_of_cgroup("0::/system.slice/my-pod8d7f_1.slice\n", wanted), "");
}

TEST(PodCgroup, IsFoundInAnyHierarchyOfCgroupV1) {
  EXPECT_EQ(
      pod_of_cgroup("12:memory:/user.slice\n3:cpu,cpuacct:/kubepods/burstable/pod0a1b/x\n0::/\n", wanted),
      "0a1b");
}

TEST(PodCgroup, OfANameThatAPodMadeInsideItsOwnIsTheOuter) {
  EXPECT_EQ(pod_of_cgroup("0::/kubepods/pod0a1b/c/kubepods/pod8d7f-1/x\n", wanted), "0a1b");
}

TEST(PodCgroup, IsNoneOfWhatIsNotWantedOrNoCgroupFile) {
  EXPECT_EQ(pod_of_cgroup("0::/kubepods/podother/x\n", wanted), "");
  EXPECT_EQ(pod_of_cgroup("0::/kubepods/pod0a1\n", wanted), "");
  EXPECT_EQ(pod_of_cgroup("", wanted), "");
  EXPECT_EQ(pod_of_cgroup("pod0a1b", wanted), "");
  EXPECT_EQ(pod_of_cgroup(":\n::\n", wanted), "");
}

}  // namespace
}  // namespace heddle::agent
