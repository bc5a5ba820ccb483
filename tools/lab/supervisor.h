// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "tools/process/spawn.h"

namespace heddle::tools {

// Keeps heddle's own programs of a lab running: one that ends is started again (at once after a wanted stop,
// else after 0.5 s doubling to 10 s). Single-threaded; the owner reaps children and reports them.
class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;

  // Starts `name` of `node` (empty: of the lab) and keeps it running.
  Result<> add(const std::string& name, const std::string& node, SpawnSpec spawn);
  // Starts a second one beside the running one, which is left to end by itself (an upgrade).
  Result<> start_beside(const std::string& name, const std::string& node);
  // Sends a signal; what ends because of it is started again at once.
  Result<> restart(const std::string& name, const std::string& node, int signal);

  // True if the child was one of ours.
  bool ended(pid_t pid, int status);
  // Starts what is due. Returns when it wants to be called again.
  Clock::time_point tick(Clock::time_point now);

  // [{"name","node","pid","restarts","draining":[pids],"last_exit"}]
  boost::json::array state() const;

 private:
  struct Program {
    std::string name, node;
    SpawnSpec spawn;
    pid_t pid = 0;
    unsigned restarts = 0;
    bool stop_wanted = false;
    Clock::time_point started, due;
    std::chrono::milliseconds backoff{500};
    std::vector<pid_t> draining;
    std::string last_exit;
  };
  Program* find(const std::string& name, const std::string& node);
  static Result<> start(Program& program);

  std::vector<Program> programs_;
};

}  // namespace heddle::tools
