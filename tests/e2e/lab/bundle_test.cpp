// SPDX-License-Identifier: Apache-2.0
// `heddle diagnostics bundle` of a lab.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io/file.h"
#include "lab_fixture.h"

namespace heddle::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using CollectedLab = LabTest;

// Everything that a person has to look for by hand when nothing works, and nothing that must not be shown.
TEST_F(CollectedLab, IsInABundleWithoutWhatApplicationsKeepSecret) {
  const auto folder = objects(R"(
kind: Namespace
metadata: {name: shop, annotations: {linkerd.io/inject: enabled, vault.example/token: SEEDED-annotation}}
---
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}, annotations: {vault.example/role: SEEDED-role}}
spec: {containers: [{name: c, command: [sh, -c, "echo SEEDED-output; sleep infinity"],
                     env: [{name: DB_PASSWORD, value: SEEDED-environment}]}]}
---
kind: Pod
metadata: {name: client, namespace: shop}
spec: {containers: [{name: c, command: [sleep, infinity]}]}
)");
  heddle_ok({"lab", "up", folder, "--name", name_});
  in_pod("shop/client",
         {"curl", "-s", "--max-time", "5", "http://user:SEEDED-user@192.0.2.7/?session=SEEDED-query"});
  const auto file = folder_ + "/bundle.tar.gz";
  const auto made = heddle({"diagnostics", "bundle", "--lab", name_, "-o", file});
  EXPECT_TRUE(made.exit.ok()) << made.err;
  EXPECT_EQ(made.out, file + "\n");
  SpawnSpec tar;
  tar.argv = {"tar", "-xzf", file, "-C", folder_, "--strip-components=1"};
  ASSERT_TRUE(run_checked(tar));
  for (const char* path :
       {"manifest.json", "check.json", "status.json", "stat-inbound.json", "stat-outbound.json", "edges.json",
        "endpoints.json", "identity.json", "heddle/logs/control.log", "heddle/logs/node-1_agent.log",
        "heddle/logs/node-1_proxy.log", "nodes/node-1/agent-state.json", "nodes/node-1/agent-verify.json",
        "nodes/node-1/agent-drops.json", "nodes/node-1/agent-metrics.txt", "nodes/node-1/proxy-state.json",
        "nodes/node-1/proxy-metrics.txt", "nodes/node-1/machine.json"}) {
    const auto text = read_file(folder_ + "/" + path);
    ASSERT_TRUE(text) << path;
    EXPECT_NE(*text, "") << path;
  }
  EXPECT_THAT(*read_file(folder_ + "/status.json"), HasSubstr("\"client\""));
  SpawnSpec grep;
  ::unlink((folder_ + "/objects.yaml").c_str());
  grep.argv = {"grep", "-r", "SEEDED", folder_};
  EXPECT_EQ(run(grep)->out, "");
  SpawnSpec names;
  heddle_ok({"diagnostics", "bundle", "--lab", name_, "--redact-names", "-o", folder_ + "/renamed.tar.gz"});
  names.argv = {"sh", "-c",
                "tar -tzf renamed.tar.gz; tar -xzOf renamed.tar.gz | grep -w -e client -e shop | "
                "grep -v -e '\"client\":'"};
  names.working_directory = folder_;
  EXPECT_THAT(run(names)->out,
              AllOf(HasSubstr("nodes/node-"), Not(HasSubstr("client")), Not(HasSubstr("shop"))));
  struct stat found{};
  ASSERT_EQ(::stat(file.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777U, 0600U);
}

TEST_F(CollectedLab, IsInItAsFarAsItAnswers) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_});
  const auto gone = "/run/heddle-lab/" + name_ + "/nodes/node-2/run/proxy/admin.sock";
  ASSERT_EQ(::unlink(gone.c_str()), 0);
  const auto made = heddle({"diagnostics", "bundle", "--lab", name_, "-o", folder_ + "/bundle.tar.gz"});
  EXPECT_EQ(made.exit.to_string(), "exit code 1");
  EXPECT_THAT(made.err, HasSubstr("could not be collected"));
  SpawnSpec tar;
  tar.argv = {"tar", "-xzf", folder_ + "/bundle.tar.gz", "-C", folder_, "--strip-components=1"};
  ASSERT_TRUE(run_checked(tar));
  EXPECT_THAT(*read_file(folder_ + "/manifest.json"),
              AllOf(HasSubstr("node node-2: proxy /state"), HasSubstr("\"complete\": false")));
  EXPECT_TRUE(read_file(folder_ + "/nodes/node-1/proxy-state.json"));
  EXPECT_FALSE(read_file(folder_ + "/nodes/node-2/proxy-state.json"));
  EXPECT_TRUE(read_file(folder_ + "/nodes/node-2/agent-state.json"));
}

}  // namespace
}  // namespace heddle::tools
