// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "proxy/connection.h"
#include "proxy/detect/detect.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/pipeline/upstream.h"
#include "proxy/telemetry/telemetry.h"
#include "proxy/upstream/relay.h"

namespace heddle::proxy {

struct Worker;

// One accepted connection until its protocol is known, and all its life when it is bytes. Listens to the
// client; when that stays silent for a moment, opens the upstream meanwhile and listens to both. Who speaks
// first decides: the server's word makes it opaque, the client's is looked at. The subclasses know where
// upstream is and who serves HTTP.
class Pipeline : public Connection, private StreamEvents {
 public:
  void drain() override {}  // bytes have no clean point but their own end
  void abort() override;

 protected:
  Pipeline(Worker& worker, PodRef owner, SocketAddress client, std::unique_ptr<Stream> stream);
  ~Pipeline() override;

  // ---- what subclasses decide
  // Opens the upstream; `done` later, never from inside.
  virtual std::unique_ptr<Opening> open_upstream(OpenDone done) = 0;
  // The client spoke. Ends in go_opaque(), hand_over_client() + leave(), or refuse().
  virtual void client_spoke(const Detected& detected) = 0;
  // Nobody spoke for `detect_timeout`.
  virtual void nobody_spoke() { go_opaque(); }
  virtual void server_spoke() {}
  // A relayed connection ended: whose bytes were the first. Not called when there were none.
  virtual void bytes_ended(bool client_was_first) { static_cast<void>(client_was_first); }
  // May the upstream be opened while nothing is known of the client?
  virtual bool may_open_early() const { return true; }
  // The server's first word is not passed on before this age of the connection: the client may still begin
  // TLS.
  virtual std::chrono::milliseconds hold_greeting() const { return std::chrono::milliseconds(0); }
  // Counters and the record of a relayed connection.
  virtual Labels client_labels() const = 0;
  virtual Labels upstream_labels(const Upstream& upstream) const = 0;
  virtual TrafficRecord describe() const = 0;
  struct SeriesPair {
    std::shared_ptr<TcpSeries> client;
    std::shared_ptr<TcpSeries> upstream;
  };
  // Those of the labels above; subclasses may remember them. Called once, when relaying begins and somebody
  // counts.
  virtual SeriesPair find_series(const Upstream& upstream);

  // ---- what they call
  // Listens to the client from now on. `early_dial`: how long it may be silent before the upstream is opened.
  void listen(std::chrono::milliseconds early_dial);
  // It is bytes: opens the upstream unless it is open, then relays.
  void go_opaque();
  // It is bytes, and the client is expected to have the first: go_opaque() when they are there or after
  // `patience`. They then travel with the handshake's last ACK, and the server wakes up once for both.
  void await_bytes(std::chrono::milliseconds patience);
  // The client's stream with what was read of it in front; the caller hands it on and leaves.
  std::unique_ptr<Stream> hand_over_client();
  // Replaces the client's stream (TLS ended); nothing of it was read yet.
  void replace_client(std::unique_ptr<Stream> stream);
  // Resets the client and ends; `reason` is counted.
  void refuse(const char* reason);
  // Ends without touching the client any more.
  void leave();
  // Null until it is open; without its stream once that is relayed.
  const Upstream* upstream() const { return upstream_ ? &*upstream_ : nullptr; }
  // Drops what was opened early.
  void drop_upstream();

  Worker& worker_;
  const SocketAddress client_address_;
  const Loop::Clock::time_point began_;

 private:
  enum class State : std::uint8_t { idle, listening, opening, relaying, over };

  // The upstream while nobody relays yet.
  struct UpstreamEvents final : StreamEvents {
    Pipeline* pipeline = nullptr;
    void on_readable() override { pipeline->hear_upstream(); }
    void on_writable() override {}
  };

  void on_readable() override;
  void on_writable() override {}
  void hear_client();
  bool judge(std::span<const std::byte> bytes, bool ended);
  void hear_upstream();
  void silence();
  void open();
  void opened(Result<Upstream> result);
  void open_failed(const Error& error);
  void relay();
  void ended(const RelayEnd& end);

  std::unique_ptr<Stream> client_;
  std::vector<std::byte> heard_;        // of the client, while undecided or waiting for the upstream
  std::vector<std::byte> server_word_;  // of the server, the same
  std::unique_ptr<Opening> opening_;
  std::optional<Upstream> upstream_;
  UpstreamEvents upstream_events_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<Relay> relay_;
  std::shared_ptr<TcpSeries> client_series_;
  std::shared_ptr<TcpSeries> upstream_series_;
  Loop::Clock::time_point deadline_{};  // of hearing anybody
  State state_ = State::idle;
  bool early_failed_ = false;
  bool polite_ = false;  // an HTTP/2 server: its word says nothing, and its client's is awaited without it
  bool opaque_ = false;  // listening for bytes, whatever they are
};

}  // namespace heddle::proxy
