// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/io/unix_message.h"
#include "proxy/io/loop.h"
#include "proxy/pods/node_pods.h"

namespace heddle::proxy {

// One conversation with the agent on the link's loop: whole messages in, whole messages out, never blocking.
class LinkConnection final : private IoHandler {
 public:
  struct Events {
    std::function<void(UnixMessage)> message;
    // The conversation is over; nothing else is called afterwards. The receiver destroys the object later.
    std::function<void(const Error&)> closed;
  };
  LinkConnection(Loop& loop, Fd socket, Events events);
  ~LinkConnection();

  // Queues a message, with a pod's listeners beside it or none. A queue that the agent does not read for long
  // ends the conversation.
  void send(std::string bytes, std::shared_ptr<PodListeners> listeners = nullptr);
  // Ends the conversation for that reason.
  void close(const Error& error);
  bool open() const { return static_cast<bool>(socket_); }
  // Sends what is queued, waiting at most a moment: before the process exits.
  void flush_now();

 private:
  struct Outgoing {
    std::string bytes;
    std::shared_ptr<PodListeners> listeners;
  };
  void on_io(std::uint32_t events) override;
  void receive();
  void flush();

  Loop& loop_;
  Fd socket_;
  Events events_;
  std::deque<Outgoing> queue_;
  std::shared_ptr<LinkConnection*> self_;
};

}  // namespace heddle::proxy
