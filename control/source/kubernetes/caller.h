// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "control/source/kubernetes/client.h"
#include "control/source/kubernetes/object_watch.h"

namespace heddle::source::kubernetes {

// Single questions to an API server (get, create, patch, delete), beside the watches of a source: over one
// connection of HTTP/2, kept while it is used at least once a minute, with up to `most_streams` questions at
// once; where the server has HTTP/1.1 only over up to `most_connections`. On a thread of its own.
// Thread-safe; destruction stops it and waits: what is outstanding then is answered Errc::closed.
class Caller {
 public:
  // Any status is an Answer. Errors as Client::call(); Errc::timeout: no complete answer by the deadline, and
  // whether the server did what was asked is not known. Errc::exhausted: too many are waiting.
  using Done = std::function<void(Result<Answer>)>;

  explicit Caller(const Access& access, const Timeouts& timeouts = {});
  ~Caller();
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // `done` is called once, on the caller's own thread, and must not block. The time in the queue counts.
  void call(Request request, std::chrono::milliseconds deadline, Done done);
  // The same, waited for. Not from within a `done`.
  Result<Answer> call(Request request, std::chrono::milliseconds deadline);

  // Watches an object for as long as what is returned lives, which must be gone before this is. `told` is
  // called on the caller's own thread, as watch_object() says, and must not block.
  class Watch {
   public:
    virtual ~Watch() = default;
    // The server tells of changes: whoever looks now and then need not do so often.
    virtual bool watching() const = 0;
  };
  std::unique_ptr<Watch> watch(ObjectName object, std::function<void()> told);

  const Access& access() const;

  static constexpr std::size_t most_connections = 4;
  static constexpr std::size_t most_streams = 64;
  static constexpr std::size_t most_waiting = 4096;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::source::kubernetes
