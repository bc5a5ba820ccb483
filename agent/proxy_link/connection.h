// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/loop.h"
#include "base/fd.h"
#include "base/io/unix_message.h"
#include "base/result.h"

namespace heddle::agent {

// A message ready to go; `fds` are sent and stay open, `owned` are closed once it is gone.
struct OutgoingMessage {
  std::string bytes;
  std::vector<int> fds;
  std::vector<Fd> owned;
};

// One end of a SEQPACKET conversation: a bounded queue of messages that are built only when the socket takes
// them, so that a slow reader costs the queue's entries, not descriptors. Main thread.
class Connection {
 public:
  // Builds a message, or nothing when there is nothing to say any more.
  using Build = std::function<std::optional<OutgoingMessage>()>;
  static constexpr std::size_t max_queued = 32768;

  // `on_message` for each message; `on_closed` once, when the peer is gone or broke the protocol. Neither is
  // called before the constructor returned. The Connection may be destroyed in either.
  Connection(Loop& loop, Fd socket, std::function<void(UnixMessage)> on_message,
             std::function<void(const Error&)> on_closed);

  // False: the queue is full.
  bool send(Build build);
  std::size_t queued() const { return queue_.size() + (stuck_ ? 1 : 0); }

 private:
  void read();
  void flush();
  void flush_after(std::chrono::milliseconds pause);
  void close(const Error& error);

  Loop& loop_;
  Fd socket_;
  std::function<void(UnixMessage)> on_message_;
  std::function<void(const Error&)> on_closed_;
  std::deque<Build> queue_;
  std::optional<OutgoingMessage> stuck_;
  bool flushing_ = false;
  bool closed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Loop::Handle> readable_;
  std::unique_ptr<Loop::Handle> writable_;
  std::unique_ptr<Loop::Handle> again_;

 public:
  ~Connection() { *alive_ = false; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
};

}  // namespace heddle::agent
