// SPDX-License-Identifier: Apache-2.0
#include "lab_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "base/io/cgroup.h"
#include "base/io/file.h"

namespace heddle::tools {

void LabTest::SetUp() {
  static int count = 0;
  name_ = "e2e-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  char path[] = "/tmp/heddle-lab-test-XXXXXX";
  folder_ = ::mkdtemp(path);
}

void LabTest::TearDown() {
  if (HasFailure()) {
    std::error_code failed;
    for (const auto& entry :
         std::filesystem::directory_iterator("/run/heddle-lab/" + name_ + "/logs", failed)) {
      const auto log = read_file(entry.path());
      if (log && !log->empty())
        std::cerr << "== " << entry.path() << "\n"
                  << log->substr(log->size() - std::min<std::size_t>(log->size(), 3000)) << "\n";
    }
    if (const auto log = read_file("/run/heddle-lab/" + name_ + "/daemon.log"))
      std::cerr << "== daemon\n" << *log << "\n";
  }
  EXPECT_TRUE(heddle({"lab", "down", name_}).exit.ok());
  EXPECT_EQ(remains(), "");
  std::filesystem::remove_all(folder_);
}

Finished LabTest::heddle(std::vector<std::string> arguments) {
  SpawnSpec spec;
  spec.argv = {HEDDLE_BIN "/heddle"};
  spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
  auto done = run(spec, {}, std::chrono::seconds(100));
  EXPECT_TRUE(done) << done.error().message();
  return done ? *done : Finished{{-1}, {}, {}, true};
}

std::string LabTest::heddle_ok(std::vector<std::string> arguments) {
  const auto done = heddle(arguments);
  EXPECT_TRUE(done.exit.ok()) << "heddle " << arguments[0] << " "
                              << (arguments.size() > 1 ? arguments[1] : "") << ": " << done.exit.to_string()
                              << "\n"
                              << done.out << done.err;
  return done.out;
}

boost::json::value LabTest::heddle_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"-o", "json"});
  boost::system::error_code malformed;
  const auto out = heddle_ok(arguments);
  auto value = boost::json::parse(out, malformed);
  EXPECT_FALSE(malformed) << out;
  return value;
}

Finished LabTest::in_pod(const std::string& pod, std::vector<std::string> command) {
  std::vector<std::string> arguments{"lab", "exec", pod, "--name", name_, "--"};
  arguments.insert(arguments.end(), command.begin(), command.end());
  return heddle(arguments);
}

std::string LabTest::objects(const std::string& yaml) {
  EXPECT_TRUE(write_file_atomically(folder_ + "/objects.yaml", yaml, 0644));
  return folder_;
}

std::string LabTest::remains() const {
  std::string out;
  const auto root = "/run/heddle-lab/" + name_;
  if (std::filesystem::exists(root)) out += root + " ";
  if (const auto cgroup = cgroup2_mount();
      cgroup && std::filesystem::exists(*cgroup + "/heddle-lab/" + name_)) {
    out += "cgroup ";
  }
  const auto mounts = read_file("/proc/self/mountinfo");
  if (mounts && mounts->find(root + "/") != std::string::npos) out += "mounts ";
  return out;
}

}  // namespace heddle::tools
