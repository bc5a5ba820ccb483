// SPDX-License-Identifier: Apache-2.0
// The demo as a person runs it: every step must hold, in both ways of interception, and nothing may be left.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>

#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "tests/support/eventually.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string lab_name() {
  return "e2e-demo-" + std::to_string(::getpid());
}

// Folders (with pins and namespaces in them), mounts, and cgroups (with processes in them). Empty when
// nothing is left.
std::string anything_left() {
  std::string out;
  const auto mounts = read_file("/proc/self/mountinfo");
  const auto cgroups = cgroup2_mount();
  EXPECT_TRUE(cgroups);
  for (const auto* suffix : {"", "-before", "-iptables"}) {
    const auto name = lab_name() + suffix;
    const auto folder = "/run/heddle-lab/" + name;
    if (std::filesystem::exists(folder)) out += folder + " ";
    if (mounts && mounts->find(folder + "/") != std::string::npos) out += "mounts of " + name + " ";
    if (cgroups && std::filesystem::exists(*cgroups + "/heddle-lab/" + name))
      out += "cgroup of " + name + " ";
  }
  return out;
}

class Demo : public testing::TestWithParam<const char*> {};

TEST_P(Demo, HoldsAtEveryStepAndLeavesNothing) {
  SpawnSpec spec;
  spec.argv = {HEDDLE_BIN "/heddle", "demo", "--json", "--name", lab_name(), "--interception", GetParam()};
  auto done = run(spec, {}, std::chrono::seconds(180));
  ASSERT_TRUE(done) << done.error().message();
  ASSERT_FALSE(done->timed_out) << done->err;
  boost::system::error_code malformed;
  const auto document = json::parse(done->out, malformed);
  ASSERT_FALSE(malformed) << done->out << done->err;
  for (const auto& step : document.at("steps").as_array()) {
    EXPECT_TRUE(step.at("ok").as_bool()) << json::serialize(step);
  }
  EXPECT_TRUE(document.at("ok").as_bool());
  EXPECT_GE(document.at("steps").as_array().size(), 12u);
  EXPECT_EQ(done->exit.status, 0) << done->err;
  EXPECT_EQ(anything_left(), "");
}

INSTANTIATE_TEST_SUITE_P(Interception, Demo, testing::Values("ebpf", "iptables"),
                         [](const auto& mode) { return std::string(mode.param); });

// By the lab that is up when Ctrl-C comes.
class DemoInterrupted : public testing::TestWithParam<const char*> {};

TEST_P(DemoInterrupted, RemovesEverythingOnCtrlC) {
  SpawnSpec spec;
  spec.argv = {HEDDLE_BIN "/heddle", "demo", "--name", lab_name()};
  spec.output_file = "/dev/null";
  auto pid = spawn(spec);
  ASSERT_TRUE(pid) << pid.error().message();
  const auto socket = "/run/heddle-lab/" + lab_name() + GetParam() + "/lab.sock";
  ASSERT_TRUE(test::eventually([&] { return std::filesystem::exists(socket); }))
      << "the demo did not bring that lab up";
  ::kill(*pid, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(*pid, &status, 0), *pid);
  EXPECT_EQ(Exit{status}.to_string(), "exit code 130");
  EXPECT_EQ(anything_left(), "");
}

INSTANTIATE_TEST_SUITE_P(Lab, DemoInterrupted, testing::Values("-before", ""), [](const auto& suffix) {
  return std::string(*suffix.param ? "WithoutHeddle" : "Meshed");
});

}  // namespace
}  // namespace heddle::tools
