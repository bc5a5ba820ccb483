// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/loop.h"
#include "agent/state/state_file.h"

namespace heddle::agent {

// Keeps RUN/agent/pods.json equal to what was put here. One write at a time, on the loop's background thread;
// what is put while one runs goes into the next, so a thousand ADDs at once cost a few writes. Main thread
// only.
class StateStore {
 public:
  using Done = std::function<void(Result<>)>;

  StateStore(Loop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}

  void set_head(std::uint32_t mark, std::string boot) {
    mark_ = mark;
    boot_ = std::move(boot);
  }
  // Fills the store without writing (after load).
  void assume(const Sandbox& sandbox) { lines_[sandbox.facts.container_id] = encode_sandbox(sandbox); }
  // `done` once the change is on disk, or with the reason why not; the change stays for the next write.
  void put(const Sandbox& sandbox, Done done);
  void erase(const std::string& container_id, Done done);
  std::uint64_t writes() const { return writes_; }
  const std::string& path() const { return path_; }

 private:
  void write();

  Loop& loop_;
  std::string path_;
  std::uint32_t mark_ = 0;
  std::string boot_;
  std::map<std::string, std::string> lines_;
  std::vector<Done> waiting_;  // for the next write
  bool writing_ = false;
  std::uint64_t writes_ = 0;
};

}  // namespace heddle::agent
