// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/cni/request.h"
#include "agent/loop.h"
#include "base/fd.h"
#include "base/result.h"

namespace heddle::agent {

// RUN/agent/cni.sock: one request and one reply per connection, any number at once. Main thread.
class CniServer {
 public:
  using Reply = std::function<void(CniAnswer)>;
  // Called for each well-formed call of root; replies once, any time later. `netns` may be empty.
  using Handler = std::function<void(CniCall call, Fd netns, Reply reply)>;
  // Called with every answer, for metrics and the log.
  using Observer =
      std::function<void(const CniCall& call, const CniAnswer& answer, std::chrono::microseconds took)>;

  CniServer(Loop& loop, std::string path, Handler handler, Observer observer);
  ~CniServer();
  Result<> listen();
  std::uint64_t refused() const { return refused_; }

 private:
  struct Session;
  void accept();
  void read(std::uint64_t id);
  void answer(std::uint64_t id, const CniAnswer& answer);

  Loop& loop_;
  std::string path_;
  Handler handler_;
  Observer observer_;
  Fd listener_;
  std::unique_ptr<Loop::Handle> acceptable_;
  std::unique_ptr<Loop::Handle> pause_;
  std::uint64_t next_ = 1;
  std::uint64_t refused_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Session>> sessions_;
};

}  // namespace heddle::agent
