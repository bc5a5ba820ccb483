// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "control/source/kubernetes/exec_credential.h"

namespace heddle::source::kubernetes {

// Credentials that a program gives, for all connections to one API server: it is run when they are first
// wanted, shortly before they expire, and after the server refused them. Thread-safe; destruction kills the
// program, if it runs, and waits for it.
class Credentials {
 public:
  // `cluster` is the JSON of spec.cluster that the program is told if it wants it.
  explicit Credentials(ExecPlugin plugin, std::string cluster = {},
                       std::chrono::milliseconds time_limit = std::chrono::seconds(30));
  ~Credentials();
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  using Given = Result<std::shared_ptr<const ExecCredential>>;
  // Never blocks. Nothing: the program runs, ask again soon. Errors name the program and what to do: it
  // cannot be started, failed, took too long or wrote nonsense; it is run again when asked after a second.
  std::optional<Given> get();

  // The server does not take `refused`: the next get() runs the program, unless that was done already.
  void refuse(const std::shared_ptr<const ExecCredential>& refused);

 private:
  void run();
  Result<std::shared_ptr<const ExecCredential>> ask() const;

  const ExecPlugin plugin_;
  const std::string cluster_;
  const std::chrono::milliseconds time_limit_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;
  std::shared_ptr<const ExecCredential> known_;  // null: none
  std::optional<Error> error_;                   // of the last run
  std::chrono::steady_clock::time_point failed_{};
  bool fresh_ = false;  // `known_` was not asked for yet
  bool running_ = false;
  std::thread thread_;
};

}  // namespace heddle::source::kubernetes
