// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <chrono>
#include <memory>

#include "control/source/kubernetes/link.h"

namespace heddle::source::kubernetes {

// HTTP/1.1 with an API server: one question at a time. Belongs to its io_context's one thread.
class H1Connection {
 public:
  H1Connection(std::unique_ptr<Link> link, const Timeouts& timeouts);

  // The server has ended it, or said something unasked, which is its farewell (a TLS alert, a 408).
  bool over();
  // Whether it can be used again after that is told by reusable().
  boost::asio::awaitable<Exchanged> exchange(const Outgoing& asked, const Sink* sink);
  bool reusable() const { return reusable_; }

 private:
  boost::asio::awaitable<Result<>> send(const Outgoing& asked);
  boost::asio::awaitable<Result<Answer>> receive(const Sink* sink, bool& heard);

  std::unique_ptr<Link> link_;
  const Timeouts timeouts_;
  boost::beast::flat_buffer buffer_;
  bool reusable_ = true;
};

}  // namespace heddle::source::kubernetes
