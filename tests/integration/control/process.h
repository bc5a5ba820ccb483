// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/control/scratch_folder.h"

namespace heddle::test {

// heddle-control on free ports of the loopback, with a folder of objects (unless `more_flags` name another
// source), a state folder and one of tokens.
// Its log is printed when the test has failed.
class ControlProcess {
 public:
  explicit ControlProcess(std::vector<std::string> more_flags = {});
  ~ControlProcess();
  ControlProcess(const ControlProcess&) = delete;
  ControlProcess& operator=(const ControlProcess&) = delete;

  void start();   // waits for /ready
  void launch();  // does not wait
  bool ready() const;
  pid_t pid() const { return pid_; }
  void kill();      // SIGKILL
  int terminate();  // SIGTERM; its exit code
  void put(const std::string& file, const std::string& yaml) { folder_.put("objects/" + file, yaml); }
  void remove(const std::string& file) { folder_.remove("objects/" + file); }
  void put_token(const std::string& node, const std::string& secret) {
    folder_.put("tokens/" + node + ".token", secret);
  }
  std::string state(const std::string& file) const { return folder_.read("state/" + file); }
  std::string log() const { return folder_.read("log"); }
  std::string admin(const std::string& path, int* status = nullptr) const;
  // One sample of /metrics, by its name and labels; -1 if absent.
  double metric(const std::string& sample) const;

  std::string identity_address() const { return "127.0.0.1:" + std::to_string(identity_port_); }
  std::string destination_address() const { return "127.0.0.1:" + std::to_string(destination_port_); }

 private:
  ScratchFolder folder_;
  std::vector<std::string> more_flags_;
  std::uint16_t identity_port_;
  std::uint16_t destination_port_;
  std::uint16_t admin_port_;
  pid_t pid_ = -1;
};

// Runs heddle-control with these arguments to its end; exit code and what it said.
struct RunResult {
  int exit_code = -1;
  std::string output;
};
RunResult run_control(const std::vector<std::string>& arguments);

}  // namespace heddle::test
