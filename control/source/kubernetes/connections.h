// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/h2_connection.h"
#include "control/source/kubernetes/link.h"

namespace heddle::source::kubernetes {

// The connections of a thread to one API server. Where the server speaks HTTP/2 all clients share one (and
// another when that takes no more streams, up to `most_shared`, or was told farewell); else each has its own.
// The kubeconfig and certificates are read when connecting. Belongs to its io_context's one thread; must go
// before the context does.
class Connections : public std::enable_shared_from_this<Connections> {
 public:
  Connections(boost::asio::io_context& context, Access access, const Timeouts& timeouts);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  boost::asio::io_context& context() { return context_; }
  const Timeouts& timeouts() const { return timeouts_; }
  // As the kubeconfig said last.
  std::shared_ptr<const Access> access() const { return access_; }
  // The last connection spoke HTTP/2.
  bool multiplexed() const { return multiplexed_; }
  // `told` is called whenever a connection was made.
  void on_opened(std::function<void()> told) { told_ = std::move(told); }

  // Reads the kubeconfig again if the next question needs a new connection.
  void refresh();

  // Exactly one of the two.
  struct Opened {
    std::shared_ptr<H2Connection> shared;
    std::unique_ptr<Link> own;  // HTTP/1.1
    bool fresh = false;         // made for this question
  };
  // Clients that want one at the same time wait for one attempt, and fail with it. `given` is what the
  // kubeconfig's program gave; null: nothing.
  boost::asio::awaitable<Result<Opened>> open(std::shared_ptr<const ExecCredential> given);

  // Ends those of HTTP/2 that nobody uses.
  void close_idle();

  static constexpr std::ptrdiff_t most_shared = 8;

 private:
  struct Attempt;

  std::shared_ptr<H2Connection> usable(const std::shared_ptr<const ExecCredential>& given);
  boost::asio::awaitable<Result<Opened>> make(std::shared_ptr<const ExecCredential> given);
  void read_again();

  boost::asio::io_context& context_;
  const Access given_;
  const Timeouts timeouts_;
  std::shared_ptr<const Access> access_;
  std::string complaint_;  // about what the kubeconfig says now
  std::vector<std::shared_ptr<H2Connection>> shared_;
  std::shared_ptr<Attempt> attempt_;  // under way; null: none
  bool multiplexed_ = false;
  bool plain_ = false;  // the last connection spoke HTTP/1.1: nobody waits for another's
  std::function<void()> told_;
};

}  // namespace heddle::source::kubernetes
