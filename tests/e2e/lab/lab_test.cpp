// SPDX-License-Identifier: Apache-2.0
// The lab by itself: the bare CNI chain, without heddle's programs.
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <sstream>

#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "lab_fixture.h"
#include "tests/support/eventually.h"

namespace heddle::tools {
namespace {

using testing::HasSubstr;

const std::string two_pods = R"(
kind: Node
metadata: {name: a}
---
kind: Node
metadata: {name: b}
---
kind: Pod
metadata: {name: client}
spec:
  nodeName: a
  containers: [{name: c, command: [sleep, infinity], env: [{name: WORD, value: hello}]}]
---
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: b
  volumes: [{name: state, emptyDir: {}}]
  containers:
    - name: web
      command: [busybox, httpd, -f, -p, "8080", -h, /mnt/state]
      ports: [{name: http, containerPort: 8080}]
      volumeMounts: [{name: state, mountPath: /mnt/state}]
      readinessProbe: {exec: {command: [test, -f, /mnt/state/ready]}, periodSeconds: 1, failureThreshold: 1}
---
kind: Service
metadata: {name: web}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: http}]}
)";

class BareLab : public LabTest {
 protected:
  std::string pod_ip(const std::string& pod, std::size_t which) {
    const auto labs = heddle_json({"lab", "list"});
    for (const auto& lab : labs.at("labs").as_array()) {
      if (lab.at("name").as_string() != name_) continue;
      for (const auto& entry : lab.at("pods").as_array()) {
        if (entry.at("name").as_string() == pod)
          return std::string(entry.at("ips").as_array().at(which).as_string());
      }
    }
    return "not there";
  }
  bool ready_in_slice() {
    const auto slice = read_file("/run/heddle-lab/" + name_ + "/objects/EndpointSlice_default_web-v4.json");
    return slice && slice->find(R"("ready":true)") != std::string::npos;
  }
  // Pods come up without the server's readiness, which the tests decide on.
  void up() {
    const auto done =
        heddle({"lab", "up", objects(two_pods), "--name", name_, "--no-mesh", "--timeout", "1"});
    ASSERT_THAT(done.err, HasSubstr("default/server: Running"));
  }
};

TEST_F(BareLab, FollowsReadinessInEndpointSlicesAndServiceAddresses) {
  up();
  EXPECT_FALSE(ready_in_slice());
  EXPECT_FALSE(in_pod("client", {"curl", "-sS", "--max-time", "2", "http://web/ready"}).exit.ok());
  ASSERT_TRUE(in_pod("server", {"sh", "-c", "echo yes > /mnt/state/ready"}).exit.ok());
  ASSERT_TRUE(test::eventually([&] { return ready_in_slice(); }));
  ASSERT_TRUE(test::eventually([&] {
    return in_pod("client", {"curl", "-sS", "--max-time", "2", "http://web.default.svc.cluster.local/ready"})
               .out == "yes\n";
  }));
  ASSERT_TRUE(in_pod("server", {"rm", "/mnt/state/ready"}).exit.ok());
  EXPECT_TRUE(test::eventually([&] { return !ready_in_slice(); }));
}

// Pods that become ready within moments of each other, each a change of the nodes' rules: the last must be in
// them.
TEST_F(BareLab, HasItsServicesAddressesInPlaceOnceItIsUp) {
  const auto gate = "/tmp/" + name_ + "-gate";
  const auto folder = objects(R"(
kind: Node
metadata: {name: a}
---
kind: Deployment
metadata: {name: web}
spec:
  replicas: 12
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: c, command: [sleep, infinity], readinessProbe: {exec: {command: [test, -f, )" +
                              gate + R"(]}}}
---
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
)");
  auto up = std::async(std::launch::async,
                       [&] { return heddle_ok({"lab", "up", folder, "--name", name_, "--no-mesh"}); });
  const auto running = [&] {
    const auto listed = heddle({"lab", "list"}).out;
    std::size_t count = 0;
    for (auto at = listed.find("Running"); at != std::string::npos; at = listed.find("Running", at + 1))
      ++count;
    return count;
  };
  EXPECT_TRUE(test::eventually([&] { return running() == 12; }));
  EXPECT_TRUE(write_file_atomically(gate, "", 0644));
  up.get();
  ::unlink(gate.c_str());
  const auto labs = heddle_json({"lab", "list"});
  EXPECT_THAT(boost::json::serialize(labs), HasSubstr(R"("servicesReachable":true)"));
  SpawnSpec spec;
  spec.argv = {"nsenter",
               "--net=/run/heddle-lab/" + name_ + "/netns/node-a",
               "nft",
               "list",
               "table",
               "inet",
               "heddle_lab_services"};
  const auto rules = run_checked(spec);
  ASSERT_TRUE(rules) << rules.error().message();
  EXPECT_THAT(*rules, HasSubstr("numgen random mod 12"));
}

TEST_F(BareLab, JoinsNodesOverIpv4AndIpv6) {
  up();
  ASSERT_TRUE(in_pod("server", {"sh", "-c", "echo yes > /mnt/state/ready"}).exit.ok());
  for (const std::size_t which : {0u, 1u}) {
    const auto ip = pod_ip("server", which);
    const auto host = ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
    const auto got = in_pod("client", {"curl", "-gsS", "--max-time", "5", "http://" + host + ":8080/ready"});
    EXPECT_EQ(got.out, "yes\n") << ip << ": " << got.err;
  }
}

TEST_F(BareLab, RunsCommandsInsideThePodWithItsEnvironment) {
  up();
  EXPECT_EQ(in_pod("client", {"sh", "-c", "echo $WORD from $(hostname)"}).out, "hello from client\n");
  EXPECT_THAT(in_pod("client", {"cat", "/proc/self/cgroup"}).out, HasSubstr("/" + name_ + "/a/kubepods/pod"));
  EXPECT_EQ(in_pod("client", {"sh", "-c", "exit 7"}).exit.to_string(), "exit code 7");
}

TEST_F(BareLab, GivesADeletedPodsAddressBack) {
  up();
  const auto lease = "/run/heddle-lab/" + name_ + "/nodes/a/ipam/heddle-lab/" + pod_ip("client", 0);
  ASSERT_TRUE(std::filesystem::exists(lease)) << lease;
  heddle_ok({"lab", "delete", "Pod", "client", "--name", name_});
  EXPECT_TRUE(test::eventually([&] { return !std::filesystem::exists(lease); }));
  const auto object = "/run/heddle-lab/" + name_ + "/objects/Pod_default_client.json";
  EXPECT_TRUE(test::eventually([&] { return !std::filesystem::exists(object); })) << object;
}

// The processes in a cgroup and all below it: the containers of a node's pods.
std::vector<int> processes_below(const std::string& cgroup) {
  std::vector<int> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cgroup, ignored)) {
    if (entry.path().filename() != "cgroup.procs") continue;
    const auto content = read_file(entry.path());
    std::istringstream text(content ? *content : "");
    for (int pid = 0; text >> pid;) out.push_back(pid);
  }
  return out;
}

TEST_F(BareLab, StartsAContainerAgainThatEnded) {
  up();
  const auto pods = *cgroup2_mount() + "/heddle-lab/" + name_ + "/a/kubepods";
  std::vector<int> before;
  ASSERT_TRUE(test::eventually([&] { return (before = processes_below(pods)).size() == 1; })) << pods;
  ASSERT_EQ(::kill(before[0], SIGKILL), 0);
  std::vector<int> after;
  EXPECT_TRUE(test::eventually([&] {
    after = processes_below(pods);
    return after.size() == 1 && after[0] != before[0];
  })) << testing::PrintToString(after);
}

TEST_F(BareLab, IsRemovedWhenItsDaemonWasKilledHalfWay) {
  SpawnSpec spec;
  spec.argv = {HEDDLE_BIN "/heddle", "lab",       "up", objects(two_pods), "--name", name_,
               "--no-mesh",          "--timeout", "5"};
  spec.output_file = "/dev/null";
  auto up = spawn(spec);
  ASSERT_TRUE(up) << up.error().message();
  // As soon as the first namespace is there, and before the pods are.
  ASSERT_TRUE(test::eventually(
      [&] { return std::filesystem::exists("/run/heddle-lab/" + name_ + "/netns/fabric"); }));
  ::kill(*up, SIGKILL);
  const auto labs = heddle_json({"lab", "list"});
  for (const auto& lab : labs.at("labs").as_array()) {
    if (lab.at("name").as_string() == name_ && lab.as_object().contains("pid")) {
      ::kill(lab.at("pid").to_number<pid_t>(), SIGKILL);
    }
  }
  heddle_ok({"lab", "down", name_});
  EXPECT_EQ(remains(), "");
}

TEST_F(BareLab, RefusesBadInputBeforeMakingAnything) {
  auto done = heddle({"lab", "up", objects("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}"),
                      "--name", name_});
  EXPECT_EQ(done.exit.to_string(), "exit code 1");
  EXPECT_THAT(done.err, HasSubstr("`command` is missing"));
  EXPECT_EQ(remains(), "");
  EXPECT_EQ(heddle({"lab", "up"}).exit.to_string(), "exit code 2");
  EXPECT_EQ(heddle({"lab", "up", "/nowhere", "--name", "Not/A/Name"}).exit.to_string(), "exit code 1");
  EXPECT_THAT(heddle({"lab", "up", "--help"}).out, HasSubstr("Examples:"));
}

}  // namespace
}  // namespace heddle::tools
