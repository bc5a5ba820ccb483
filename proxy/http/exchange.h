// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "proxy/http/message.h"
#include "proxy/io/stream.h"

namespace heddle::proxy::http {

// One request and its response between two parties of one worker: the *requester* (a server-side codec, or a
// route's upstream half) and the *answerer* (a client-side codec, or a route's downstream half). Each holds a
// plain pointer to the other. Bytes are pushed; the receiver must take all of them, and gives back credit
// with consumed() when they left its hands. A pusher keeps no more than `window` bytes un-consumed (HTTP/2
// codecs: their flow-control window).
//
// Lifetime:
//  1. Requester: Handler::start() / Client::start() once. It returns null when the exchange was over before
//  it returned.
//  2. Requester: data() and trailers() until the request has ended (start/data with `end`, or trailers()).
//  3. Answerer: inform() any number of times, respond() once, data() and trailers() until the response has
//  ended.
//  4. The exchange is OVER with the end of the response, or with abort() by either. From then on neither may
//  call the
//     other: each forgets its pointer in that call, before it does anything else. Content of a request that
//     had not ended is the requester's to throw away.
//  5. consumed() may come at any time until the exchange is over, also for content that has ended.
//  6. Any call may lead to calls back before it returns, up to and with the end of the exchange. Objects die
//  only from
//     the loop (Engine::bury, ConnectionSet::done), so `this` is good after every call; pointers to the other
//     party are good only if still set.

constexpr std::size_t window = 64 * 1024;

// Why an exchange ended before its time.
enum class Abort : std::uint8_t {
  cancelled,    // the requester went away or lost interest, or the upstream reset the stream with CANCEL
  unprocessed,  // the upstream promises not to have acted on it: refused stream, GOAWAY
  stale,        // a reused connection was closed before it answered a byte
  connection,   // the connection broke
  timeout,
  protocol,    // the peer broke the protocol
  reset,       // the upstream reset the stream: its answer to this request
  overloaded,  // the same, with ENHANCE_YOUR_CALM
  internal,
};
const char* to_string(Abort reason);

class Peer {
 public:
  virtual void data(std::span<const std::byte> bytes, bool end) = 0;
  virtual void trailers(Fields&& trailers) = 0;  // ends
  virtual void abort(Abort reason) = 0;
  virtual void consumed(std::size_t bytes) = 0;

 protected:
  ~Peer() = default;
};

// The answerer, as the requester calls it.
using RequestPeer = Peer;

// The requester, as the answerer calls it.
class ResponsePeer : public Peer {
 public:
  virtual void inform(const ResponseHead& head) = 0;  // 1xx but 101
  virtual void respond(ResponseHead& head, bool end) = 0;
  // After respond() with 101, or with 2xx to CONNECT: the protocol changed, here is the stream to the other
  // side, with whatever was read too much. Only for is_upgrade requests. Ends the exchange.
  virtual void switched(std::unique_ptr<Stream> upstream) = 0;

 protected:
  ~ResponsePeer() = default;
};

// Takes requests: what a server-side codec is given.
class Handler {
 public:
  // `head` may be changed and moved from. `end`: no content follows.
  virtual RequestPeer* start(RequestHead& head, bool end, ResponsePeer& requester) = 0;

 protected:
  ~Handler() = default;
};

// A connection that can take a request now: what pools hand out.
class Client {
 public:
  // `head` stays the caller's, who may send it again elsewhere.
  virtual RequestPeer* start(const RequestHead& head, bool end, ResponsePeer& requester) = 0;

 protected:
  ~Client() = default;
};

}  // namespace heddle::proxy::http
