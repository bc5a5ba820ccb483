// SPDX-License-Identifier: Apache-2.0
// heddle-control with a large cluster's objects: its memory, how soon a change is told, and to whom. Prints
// what it measured; the limits that hold on any machine are asserted.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <thread>

#include "client.h"
#include "process.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::test {
namespace {

constexpr int pods = 10'000;
constexpr int services = 2'000;
constexpr int endpoints_each = 10;
constexpr int streams = 20;
constexpr int rounds_each = 5;

std::string pod_address(int index) {
  return "10." + std::to_string(1 + index / 65536) + "." + std::to_string(index / 256 % 256) + "." +
         std::to_string(index % 256);
}

std::string service_name(int index) {
  return "service-" + std::to_string(index);
}

// Of about the size that a Deployment's pods have: most of it is nothing that heddle reads.
std::string pod(int index) {
  const std::string name = "pod-" + std::to_string(index);
  std::string environment;
  for (int i = 0; i < 20; ++i) {
    environment += (i == 0 ? "" : ",") + std::string(R"({"name":"SETTING_)") + std::to_string(i) +
                   R"(","value":"some words that an application wants"})";
  }
  std::string fields;
  for (int i = 0; i < 40; ++i) {
    fields +=
        (i == 0 ? "" : ",") + std::string(R"("f:field)") + std::to_string(i) + R"(":{".":{},"f:name":{}})";
  }
  return R"({"metadata":{"name":")" + name +
         R"(","namespace":"shop","labels":{"app":"web","pod-template-hash":"x"},)" +
         R"("annotations":{"checksum/config":"0123456789abcdef"},"managedFields":[{"fieldsV1":{)" + fields +
         R"(}}]},"spec":{"nodeName":"node-)" + std::to_string(index % 100) +
         R"(","containers":[{"name":"app","image":"registry.example/app:1","ports":[{"name":"http",)" +
         R"("containerPort":8080}],"env":[)" + environment + R"(]}]},"status":{"phase":"Running","podIP":")" +
         pod_address(index) + R"(","podIPs":[{"ip":")" + pod_address(index) + R"("}]}})";
}

std::string service(int index) {
  return R"({"metadata":{"name":")" + service_name(index) +
         R"(","namespace":"shop"},"spec":{"clusterIP":"10.96.)" + std::to_string(index / 256) + "." +
         std::to_string(index % 256) + R"(","ports":[{"name":"http","port":80}]}})";
}

// The service's endpoints; `last` is the pod behind the last of them.
std::string slice(int index, int last) {
  std::string out;
  for (int i = 0; i < endpoints_each; ++i) {
    const int pod = i + 1 < endpoints_each ? (index * endpoints_each + i) % pods : last;
    out += (i == 0 ? "" : ",") + std::string(R"({"addresses":[")") + pod_address(pod) +
           R"("],"conditions":{"ready":true},"targetRef":{"kind":"Pod","namespace":"shop","name":"pod-)" +
           std::to_string(pod) + "\"}}";
  }
  return R"({"metadata":{"name":")" + service_name(index) +
         R"(-x","namespace":"shop","labels":{"kubernetes.io/service-name":")" + service_name(index) +
         R"("}},"addressType":"IPv4","endpoints":[)" + out + R"(],"ports":[{"name":"http","port":8080}]})";
}

double mebibytes(pid_t pid, const std::string& field) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(field + ":")) return std::strtod(line.c_str() + field.size() + 1, nullptr) / 1024;
  }
  return -1;
}

class LargeCluster : public ::testing::Test {
 protected:
  LargeCluster() {
    ::signal(SIGPIPE, SIG_IGN);
    folder_.put("ca.crt", authority_.root_pem());
    folder_.put("config", "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
                              std::to_string(api_.port()) +
                              "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], "
                              "contexts: [{name: c, context: {cluster: c}}]}");
    std::map<std::string, std::string> all;
    for (int i = 0; i < pods; ++i) all["pod-" + std::to_string(i)] = pod(i);
    api_.rewrite(ScriptedApi::pods, all);
    all.clear();
    for (int i = 0; i < services; ++i) all[service_name(i)] = service(i);
    api_.rewrite(ScriptedApi::services, all);
    all.clear();
    for (int i = 0; i < services; ++i) all[service_name(i) + "-x"] = slice(i, pods - 1 - i % 100);
    api_.rewrite(ScriptedApi::slices, all);
    api_.put(ScriptedApi::namespaces, "shop",
             R"({"metadata":{"name":"shop","annotations":{"linkerd.io/inject":"enabled"}}})");
  }

  Authority authority_;
  ScriptedApi api_{authority_};
  ScratchFolder folder_;
};

TEST_F(LargeCluster, FitsInMemoryAndTellsChangesToThoseWhoNeedThem) {
  using Clock = std::chrono::steady_clock;
  const auto begun = Clock::now();
  ControlProcess control({"--source=kubernetes", "--kubeconfig=" + folder_.file("config")});
  control.launch();
  ASSERT_TRUE(test::eventually([&] { return control.ready(); }));
  const double synced_after = std::chrono::duration<double>(Clock::now() - begun).count();
  const double resident = mebibytes(control.pid(), "VmRSS");
  EXPECT_EQ(control.metric("heddle_control_source_objects"), pods + services + services + 1);

  const Channel channel(control.destination_address(), control.state("trust-anchors.pem"));
  std::vector<double> milliseconds;
  std::vector<double> expected{control.metric("heddle_control_updates_total{rpc=\"Get\"}")};
  for (int i = 0; i < streams; ++i) {
    // The others are there all the while, and must hear nothing of it.
    GetClient other(channel, service_name(1000 + i) + ".shop.svc.cluster.local:80");
    GetClient stream(channel, service_name(i) + ".shop.svc.cluster.local:80");
    ASSERT_TRUE(other.next());
    const auto first = stream.next();
    ASSERT_TRUE(first) << stream.finish().message;
    ASSERT_EQ(first->add().addrs_size(), endpoints_each);
    for (int round = 0; round < rounds_each; ++round) {
      const auto changed = Clock::now();
      api_.put(ScriptedApi::slices, service_name(i) + "-x", slice(i, 5000 + i * rounds_each + round));
      ASSERT_TRUE(stream.next());  // the removal
      const auto added = stream.next();
      ASSERT_TRUE(added);
      EXPECT_EQ(added->add().addrs_size(), 1);
      milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - changed).count());
    }
  }
  const double told = control.metric("heddle_control_updates_total{rpc=\"Get\"}") - expected[0];
  EXPECT_EQ(told, streams * (2 + 2 * rounds_each)) << "somebody was told what is nothing to them";
  std::ranges::sort(milliseconds);
  std::printf(
      "synced after %.1f s, %.0f MiB resident then (%.0f after the changes, %.0f at most)\n"
      "from a change in the API to the message: p50 %.1f ms, p90 %.1f ms, worst of %zu %.1f ms\n",
      synced_after, resident, mebibytes(control.pid(), "VmRSS"), mebibytes(control.pid(), "VmHWM"),
      milliseconds[milliseconds.size() / 2], milliseconds[milliseconds.size() * 9 / 10], milliseconds.size(),
      milliseconds.back());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(resident, 250);
#endif
  EXPECT_EQ(control.terminate(), 0);
}

}  // namespace
}  // namespace heddle::test
