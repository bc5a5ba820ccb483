// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <vector>

#include "proxy/http/codec.h"
#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/io/loop.h"

namespace heddle::proxy::http {

// The surroundings of a codec under fuzzing: they follow the rules of exchange.h and trap when the codec does
// not.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

class FuzzLoop {
 public:
  FuzzLoop() : engine(loop, scratch) {}
  void settle() {
    for (int i = 0; i < 4; ++i) {
      loop.defer([this] { loop.stop(); });
      loop.run();
    }
  }
  void feed(Stream& stream, std::string_view text, std::size_t step) {
    std::array<std::byte, 4096> ignored;
    while (!text.empty()) {
      const std::string_view piece = text.substr(0, step);
      const iovec part{const_cast<char*>(piece.data()), piece.size()};
      const IoResult result = stream.write(std::span(&part, 1));
      if (result.status == IoStatus::ok) text.remove_prefix(result.size);
      settle();
      while (stream.read(ignored).status == IoStatus::ok) {
      }
      if (result.status == IoStatus::error) break;
      if (result.status == IoStatus::would_block && ++blocked_ > 8) break;
    }
    stream.finish_writes();
    settle();
  }
  Loop loop;
  std::array<std::byte, 64 * 1024> scratch;
  Engine engine;

 private:
  int blocked_ = 0;
};

// Echoes: answers with what it gets.
class FuzzHandler final : public Handler {
 public:
  Peer* start(RequestHead& head, bool end, ResponsePeer& requester) override {
    auto exchange = std::make_unique<Exchange>(requester);
    ResponseHead answer;
    answer.status = head.is_connect() ? 501 : 200;
    answer.content = Content::streamed;
    Exchange& made = *exchange;
    exchanges_.push_back(std::move(exchange));
    made.started = true;
    if (end) {
      ResponsePeer* to = std::exchange(made.requester, nullptr);
      to->respond(answer, true);
      return nullptr;
    }
    requester.respond(answer, false);
    return made.requester == nullptr ? nullptr : &made;
  }

 private:
  struct Exchange final : Peer {
    explicit Exchange(ResponsePeer& from) : requester(&from) {}
    void data(std::span<const std::byte> bytes, bool end) override {
      require(requester != nullptr);
      if (end) {
        std::exchange(requester, nullptr)->data(bytes, true);
        return;
      }
      requester->data(bytes, false);
      if (requester != nullptr) requester->consumed(bytes.size());
    }
    void trailers(Fields&& trailers) override {
      require(requester != nullptr);
      std::exchange(requester, nullptr)->trailers(std::move(trailers));
    }
    void abort(Abort) override {
      require(requester != nullptr);
      requester = nullptr;
    }
    void consumed(std::size_t) override { require(requester != nullptr); }
    ResponsePeer* requester;
    bool started = false;
  };
  std::vector<std::unique_ptr<Exchange>> exchanges_;
};

class FuzzOwner final : public ServerOwner {
 public:
  void server_closed() override { require(++closed == 1); }
  void server_switched(std::unique_ptr<Stream>, std::unique_ptr<Stream>) override {}
  int closed = 0;
};

class FuzzRequester final : public ResponsePeer {
 public:
  void inform(const ResponseHead&) override { require(!over); }
  void respond(ResponseHead&, bool end) override {
    require(!over);
    over = end;
  }
  void switched(std::unique_ptr<Stream>) override { over = true; }
  void data(std::span<const std::byte> bytes, bool end) override {
    require(!over);
    over = end;
    if (!over && peer != nullptr) peer->consumed(bytes.size());
  }
  void trailers(Fields&&) override {
    require(!over);
    over = true;
  }
  void abort(Abort) override {
    require(!over);
    over = true;
  }
  void consumed(std::size_t) override { require(!over); }
  Peer* peer = nullptr;
  bool over = false;
};

}  // namespace heddle::proxy::http
