// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "control/source/kubernetes/link.h"

struct nghttp2_session;

namespace heddle::source::kubernetes {

// HTTP/2 with an API server: any number of questions at once, each a stream. What arrives is used up at once,
// so that windows, which are large, cost no memory. It notices by itself when the server says farewell
// (GOAWAY), ends the connection, or is silent and does not answer a PING. Belongs to its io_context's one
// thread; what is outstanding when close() is called fails.
class H2Connection : public std::enable_shared_from_this<H2Connection> {
 public:
  // `shown` is the credential whose certificate was presented; null: none.
  H2Connection(boost::asio::io_context& context, std::unique_ptr<Link> link, const Timeouts& timeouts,
               std::shared_ptr<const ExecCredential> shown);
  ~H2Connection();
  H2Connection(const H2Connection&) = delete;
  H2Connection& operator=(const H2Connection&) = delete;

  // Once, first. Succeeds when the server has shown by its SETTINGS that it does speak HTTP/2.
  boost::asio::awaitable<Result<>> begin();
  // It takes another question: it lives and was not retired.
  bool usable() const;
  // The server allows one more stream now; else a question waits for another one's end.
  bool has_room() const;
  std::size_t questions() const { return streams_.size(); }
  bool idle() const { return streams_.empty(); }
  const std::shared_ptr<const ExecCredential>& shown() const { return shown_; }

  boost::asio::awaitable<Exchanged> exchange(const Outgoing& asked, const Sink* sink);

  // No further question; ended when those that are under way are answered.
  void retire();
  void close();

  static constexpr std::uint32_t stream_window = 4 * 1024 * 1024;
  static constexpr std::int32_t connection_window = 16 * 1024 * 1024;

 private:
  using Clock = std::chrono::steady_clock;
  struct Stream;
  struct Callbacks;
  class Registration;

  boost::asio::awaitable<void> read(std::shared_ptr<H2Connection> self);
  std::optional<Error> start(Stream& stream, const Outgoing& asked);
  boost::asio::awaitable<void> wait_for(Stream& stream);
  Clock::time_point deadline_of(const Stream& stream) const;
  void take(std::size_t bytes);
  void flush();
  void die(const Error& why);
  void end_if_retired();
  void probe();
  void watch_health();
  void check_health();
  bool peer_has_ended() const;

  boost::asio::io_context& context_;
  const std::unique_ptr<Link> link_;
  const Timeouts timeouts_;
  const std::shared_ptr<const ExecCredential> shown_;
  nghttp2_session* session_ = nullptr;
  std::set<Stream*> streams_;  // in the frames of exchange()
  std::array<std::uint8_t, 32 * 1024> input_;
  std::string output_;  // being written
  bool writing_ = false;
  bool settled_ = false;  // the server's SETTINGS came
  bool retired_ = false;
  std::optional<Error> dead_;
  Clock::time_point last_heard_ = Clock::now();
  std::optional<Clock::time_point> pinged_;  // not answered yet
  boost::asio::steady_timer health_;
  boost::asio::steady_timer settling_;
};

}  // namespace heddle::source::kubernetes
