// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/http/codec.h"
#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/io/loop.h"
#include "proxy/io/pipe.h"

namespace heddle::proxy::http {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A loop that a test turns until something holds; one that never does fails the test instead of hanging it.
class TestLoop {
 public:
  explicit TestLoop(Timeouts timeouts = {}) : engine(loop, scratch, timeouts) {}
  bool until(const std::function<bool()>& holds, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    bool timed_out = false;
    Timer deadline(loop, [&] {
      timed_out = true;
      loop.stop();
    });
    deadline.arm(limit);
    while (!holds() && !timed_out) {
      // Twice deferred: what was deferred before runs first.
      loop.defer([this] { loop.stop(); });
      loop.run();
    }
    return holds();
  }
  // Everything that is under way comes to rest.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      loop.defer([this] { loop.stop(); });
      loop.run();
    }
  }
  Loop loop;
  std::array<std::byte, 64 * 1024> scratch;
  Engine engine;
};

// Writes a text into a stream and keeps what comes back, as an app's socket would.
class Talker final : private StreamEvents {
 public:
  explicit Talker(std::unique_ptr<Stream> end) : stream(std::move(end)) { stream->set_events(this); }
  ~Talker() {
    if (stream) stream->set_events(nullptr);
  }
  void say(std::string_view text) {
    pending.append(text);
    on_writable();
  }
  std::unique_ptr<Stream> stream;
  std::string heard;
  std::string pending;
  bool ended = false;
  int error = 0;
  bool deaf = false;  // reads nothing: a slow client

  void on_readable() override {
    std::array<std::byte, 4096> buffer;
    while (!deaf) {
      const IoResult result = stream->read(buffer);
      if (result.status == IoStatus::would_block) return;
      if (result.status == IoStatus::eof) {
        ended = true;
        return;
      }
      if (result.status == IoStatus::error) {
        error = result.error;
        return;
      }
      heard.append(reinterpret_cast<const char*>(buffer.data()), result.size);
    }
  }
  void on_writable() override {
    while (!pending.empty()) {
      const iovec part{pending.data(), pending.size()};
      const IoResult result = stream->write(std::span(&part, 1));
      if (result.status != IoStatus::ok) return;
      pending.erase(0, result.size);
    }
  }
};

// What a server-side codec was told.
class Owner final : public ServerOwner {
 public:
  void server_closed() override { ++closed; }
  void server_switched(std::unique_ptr<Stream> down, std::unique_ptr<Stream> up) override {
    downstream = std::move(down);
    upstream = std::move(up);
  }
  int closed = 0;
  std::unique_ptr<Stream> downstream, upstream;
};

// Plays the answerer and checks the rules of exchange.h: nothing may be called after the end.
class Answerer final : public Handler, public Peer {
 public:
  Peer* start(RequestHead& given, bool end, ResponsePeer& from) override {
    requester = &from;
    ++started;
    method = given.method();
    target = given.target();
    authority = given.authority();
    fields = given.fields;
    content.clear();
    ended = end;
    aborted = false;
    credit = 0;
    if (on_start) on_start();
    return requester == nullptr ? nullptr : this;
  }
  void data(std::span<const std::byte> bytes, bool end) override {
    EXPECT_NE(requester, nullptr) << "data after the end";
    content.append(text_of(bytes));
    unconsumed += bytes.size();
    EXPECT_LE(unconsumed, window);
    ended = end;
    if (consume && requester != nullptr) {
      unconsumed -= bytes.size();
      requester->consumed(bytes.size());
    }
    if (on_data) on_data();
  }
  void trailers(Fields&& given) override {
    EXPECT_NE(requester, nullptr) << "trailers after the end";
    ended = true;
    trailing = std::move(given);
  }
  void abort(Abort) override {
    EXPECT_TRUE(requester != nullptr || several) << "abort after the end";
    requester = nullptr;
    aborted = true;
  }
  void consumed(std::size_t bytes) override {
    EXPECT_NE(requester, nullptr) << "credit after the end";
    credit += bytes;
  }

  void answer(std::uint16_t status, std::string_view body) {
    ResponseHead head;
    head.status = status;
    head.fields.add("content-length", std::to_string(body.size()));
    head.content = Content::sized;
    if (body.empty()) return finish([&](ResponsePeer& to) { to.respond(head, true); });
    requester->respond(head, false);
    finish([&](ResponsePeer& to) { to.data(bytes_of(body), true); });
  }
  void finish(const std::function<void(ResponsePeer&)>& last) {
    ResponsePeer* to = std::exchange(requester, nullptr);
    last(*to);
  }

  ResponsePeer* requester = nullptr;
  std::function<void()> on_start, on_data;
  std::string method, target, authority, content;
  Fields fields, trailing;
  bool ended = false, aborted = false, consume = true;
  bool several = false;  // exchanges at once that nobody answers: only counted
  int started = 0;
  std::size_t credit = 0, unconsumed = 0;
};

// Plays the requester.
class Asker final : public ResponsePeer {
 public:
  void inform(const ResponseHead& head) override { informed.push_back(head.status); }
  void respond(ResponseHead& head, bool end) override {
    EXPECT_FALSE(over) << "answer after the end";
    status = head.status;
    fields = head.fields;
    over = end;
  }
  void switched(std::unique_ptr<Stream> stream) override {
    upstream = std::move(stream);
    over = true;
  }
  void data(std::span<const std::byte> bytes, bool end) override {
    EXPECT_FALSE(over) << "data after the end";
    content.append(text_of(bytes));
    if (end) over = true;
    if (!over && consume && peer != nullptr) peer->consumed(bytes.size());
  }
  void trailers(Fields&& given) override {
    EXPECT_FALSE(over);
    trailing = std::move(given);
    over = true;
  }
  void abort(Abort why) override {
    EXPECT_FALSE(over) << "abort after the end";
    aborted = why;
    over = true;
  }
  void consumed(std::size_t bytes) override {
    EXPECT_FALSE(over) << "credit after the end";
    credit += bytes;
  }
  Peer* peer = nullptr;
  std::vector<int> informed;
  int status = 0;
  Fields fields, trailing;
  std::string content;
  std::optional<Abort> aborted;
  std::unique_ptr<Stream> upstream;
  bool over = false, consume = true;
  std::size_t credit = 0;
};

// A request head from HTTP/1 text.
RequestHead request(std::string_view text);

}  // namespace heddle::proxy::http
