// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/http/farewell.h"
#include "proxy/http/glitches.h"
#include "proxy/http/output.h"
#include "proxy/io/loop.h"
#include "proxy/pods/byte_budget.h"

struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace heddle::proxy::http {

struct H2Settings {
  std::uint32_t max_streams = 100;       // that the peer may open here
  std::uint32_t stream_window = 65'535;  // what one stream may have in flight towards us, un-consumed
  std::uint32_t connection_window = 1 << 20;
  bool ping = false;  // every `ping_interval`, also while idle; no answer within `ping_timeout`: dead
  bool mesh = false;  // between proxies: content that stalls is the ends' to judge first
  std::chrono::milliseconds ping_interval{10'000};
  std::chrono::milliseconds ping_timeout{3'000};
  // Rapid reset (CVE-2023-44487): so many of the peer's RST_STREAMs at once, then so many a second; more ends
  // the connection and all of its streams.
  std::uint32_t reset_burst = 1000;
  std::uint32_t resets_per_second = 50;
  // The same for frames that carry nothing and for streams that the peer makes us reset (CVE-2025-8671), see
  // Glitches.
  std::uint32_t glitch_burst = 10'000;
  std::uint32_t glitches_per_second = 1000;
};
// Between heddle proxies. Streams of bytes begin with the small window and get the large one when they turn
// out bulky.
H2Settings mesh_settings();
constexpr std::uint32_t mesh_bulk_window = 1 << 20;

// Frames of one write. Those of two reads, bulk's, are two packets with their framing and TLS's: see
// most_read.
constexpr std::size_t most_gathered = 126 * 1024;

class H2Session;

// One stream of a session: an exchange or a tunnel. Owned by the session from attach() on, which buries it
// when the stream is closed.
class H2Stream : public Buried, private Deadline {
 public:
  std::int32_t id() const { return id_; }

 protected:
  friend class H2Session;
  virtual void on_header(std::string_view name, std::string_view value) = 0;
  // Of a head or of trailers.
  virtual void on_headers_end(bool end_stream) = 0;
  virtual void on_data(std::span<const std::byte> bytes) = 0;
  virtual void on_end() = 0;
  // Content handed to send() left for the wire. From the loop, never from inside send().
  virtual void on_sent(std::size_t bytes) = 0;
  // The stream is gone; `session_` is null. NGHTTP2_NO_ERROR when both sides ended.
  virtual void on_close(std::uint32_t error_code) = 0;
  // END_STREAM went out.
  virtual void on_end_sent() {}

  // Content and then the end: gathered, sent as the peer's windows allow.
  void send(std::span<const std::byte> bytes, bool end);
  void send_trailers(Fields&& trailers);
  // Credit for content that was received and has left our hands.
  void return_credit(std::size_t bytes);
  void reset(std::uint32_t error_code);
  std::size_t unsent() const { return queue_.size() - queue_sent_; }
  // Nothing of ours is left to be sent, the end included.
  bool all_sent() const { return end_sent_; }
  // Why it closed is the peer's own word: RST_STREAM, not an error of the connection or one that was found
  // here.
  bool reset_by_peer() const { return reset_by_peer_; }
  // It closed because the peer took nothing of what waited for it.
  bool stalled() const { return stalled_; }
  // What waits may wait for ever: bytes of a protocol that is not known.
  void be_patient() { patient_ = true; }

  H2Session* session_ = nullptr;
  std::int32_t id_ = -1;

 private:
  void on_deadline() final;

  std::string queue_;
  std::size_t queue_sent_ = 0;
  std::size_t owed_ = 0;             // sent, not yet told by on_sent()
  std::size_t connection_owed_ = 0;  // received, and the connection's window not given back for it
  std::size_t head_held_ = 0;        // of a head that nghttp2 has not sent yet
  std::unique_ptr<Fields> trailers_;
  bool end_queued_ = false;
  bool end_sent_ = false;  // END_STREAM went out
  bool deferred_ = false;  // nghttp2 asked for content when there was none, or no room for it
  bool paused_ = false;    // there was no room: in H2Session::paused_
  bool reset_by_peer_ = false;
  bool patient_ = false;
  bool stalled_ = false;
  bool refused_ = false;    // its content is thrown away, RST_STREAM is on its way
  std::uint32_t slot_ = 0;  // in H2Session::streams_
};

// One HTTP/2 connection (RFC 9113) over a Stream: nghttp2 for the frames, one write of gathered frames per
// turn.
class H2Session : public Buried, private StreamEvents, private TurnItem, private Deadline {
 public:
  ~H2Session() override;
  std::size_t streams() const { return streams_.size(); }

 protected:
  H2Session(Engine& engine, std::unique_ptr<Stream> stream, bool server, const H2Settings& settings,
            ByteBudget budget);

  // A HEADERS frame of a stream the peer opens. Server only; null: refuse.
  virtual std::unique_ptr<H2Stream> on_new_stream() = 0;
  virtual void on_goaway() {}
  // SETTINGS came, or a stream ended: more may be possible.
  virtual void on_capacity() {}
  // The connection ended; all streams were told. Called once.
  virtual void on_session_end() = 0;

  void attach(std::unique_ptr<H2Stream> stream, std::int32_t id);
  // Puts `next` in place of the stream with that id, which is buried without a call.
  void replace(H2Stream& old, std::unique_ptr<H2Stream> next);
  // Heads. `end`: nothing follows.
  std::int32_t submit_request(const RequestHead& head, bool end, H2Stream& stream,
                              std::string_view orig_proto);
  std::int32_t submit_connect(std::string_view authority, std::string_view client, H2Stream& stream);
  void submit_response(H2Stream& stream, const ResponseHead& head, bool end);
  void submit_informational(H2Stream& stream, const ResponseHead& head);
  void submit_plain_response(H2Stream& stream, std::uint16_t status, std::string_view error, bool end);

  bool request_allowed() const;
  std::uint32_t peer_max_streams() const;
  void widen(std::int32_t id, std::uint32_t window);
  // No new streams of the peer: notice now, the final word a second later; a proxy's when it has read that.
  void begin_shutdown();
  // Ends now: streams are told Abort-like, on_session_end() is not called.
  void close();
  bool closed() const { return closed_; }
  const ByteBudget& budget() const { return held_.budget(); }
  void flush_later() { engine_.schedule(*this); }
  void tell_capacity();

  Engine& engine_;

 private:
  friend class H2Stream;
  friend class TunnelEnd;
  struct Callbacks;
  friend struct Callbacks;

  void on_readable() override;
  void on_writable() override;
  void on_turn() override;
  void read();
  void flush();
  bool gather(std::size_t most);
  void say_last();
  void tell_sent();
  void resume_paused();
  void give_back_owed();
  void fail();
  void end_streams(std::uint32_t error_code);
  void detach(H2Stream& stream, std::uint32_t error_code);
  H2Stream* find(std::int32_t id) const;
  void on_ping_timer();
  void on_deadline() override;
  void watch();
  void watch_reader();
  void account() { held_.set(queued_ + output_.size()); }
  bool refuses_content(const H2Stream& stream) const;
  void hold_head(H2Stream& stream, std::size_t bytes);
  void release_head(H2Stream& stream);
  bool tolerates(std::uint32_t cost, const char* what);
  void end_hostile(const char* what);

  const bool server_;
  std::unique_ptr<Stream> stream_;
  nghttp2_session* session_ = nullptr;
  Output output_;
  HeldBytes held_;
  std::size_t queued_ = 0;  // content in all streams' queues and heads that nghttp2 holds
  std::vector<std::unique_ptr<H2Stream>> streams_;
  std::vector<H2Stream*> sent_;    // have something to tell by on_sent()
  std::vector<H2Stream*> paused_;  // have content for which output_ is too full
  std::unique_ptr<Timer> ping_timer_;
  const std::chrono::milliseconds ping_interval_, ping_timeout_;
  const bool mesh_;  // between proxies
  std::unique_ptr<Timer> shutdown_timer_;
  std::unique_ptr<Timer> owed_timer_;
  std::unique_ptr<Farewell> farewell_;  // has a server's stream once all is said
  Glitches glitches_;
  DeadlineList& stalls_;
  std::uint64_t seen_written_ = 0;  // of output_, when the peer's reading was last looked at
  std::size_t head_bytes_ = 0;      // of the header block that arrives, decoded
  const char* hostile_ = nullptr;   // what the peer did too much of: the connection ends
  std::size_t owed_by_gone_ = 0;    // of the connection's window, by streams that have ended
  std::int32_t open_head_ = 0;      // stream whose HEADERS came and whose header block has not ended
  std::uint8_t pong_looks_ = 0;     // for the answer to a PING; 0: none is waited for
  bool want_read_ = false;
  bool capacity_changed_ = false;
  bool read_ended_ = false;
  bool blocked_ = false;
  bool greeted_ = false;          // the peer's first SETTINGS came
  bool reading_stopped_ = false;  // until the peer reads
  bool closed_ = false;
};

}  // namespace heddle::proxy::http
