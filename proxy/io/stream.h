// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"

namespace heddle::proxy {

class Loop;

// The most that is read at once. With what HTTP/2 and TLS put around it, it is still one packet until the
// network card cuts it (GSO, 64 KiB): reads of 64 KiB were two, and each costs
// the whole way through the kernel.
constexpr std::size_t most_read = 60 * 1024;

enum class IoStatus : std::uint8_t { ok, would_block, eof, error };

struct IoResult {
  IoStatus status = IoStatus::ok;
  std::size_t size = 0;  // bytes moved, with ok
  int error = 0;         // errno, with error (ECONNRESET, EPROTO for a TLS alert, ...)
  // read(), with ok: nothing but the end follows these bytes. May be false although it does; reading on gives
  // eof either way.
  bool last = false;
  // read(), with ok: another read() would say would_block, so on_readable() tells of what comes. May be false
  // although it would.
  bool drained = false;
};

class StreamEvents {
 public:
  // Bytes, an end or an error may be there: read() until would_block. Also called on errors.
  virtual void on_readable() = 0;
  // After a write() that said would_block, writing may go on.
  virtual void on_writable() = 0;

 protected:
  ~StreamEvents() = default;
};

// A bidirectional byte stream on one worker: a TCP socket, TLS above one, a CONNECT stream of a mesh
// connection, or the two ends of a join. All calls on the worker's thread. Callbacks come from the loop only,
// never from inside a call, and edge-triggered: after read() did not say would_block nothing is promised, so
// who stops reading early (back-pressure) must call read() again by itself. Destruction closes: with
// everything written and both ends finished it is a clean close, otherwise a reset.
class Stream {
 public:
  virtual ~Stream() = default;

  // Who is told; null: nobody. May change at any time.
  void set_events(StreamEvents* events) { events_ = events; }

  virtual IoResult read(std::span<std::byte> into) = 0;
  // Takes as much as it can without growing a buffer of its own beyond a bounded amount; the rest is the
  // caller's to keep and to offer again after on_writable().
  virtual IoResult write(std::span<const iovec> data) = 0;
  // No more writes: FIN, close_notify + FIN, END_STREAM. What write() took is sent first.
  virtual void finish_writes() = 0;
  // write() of the last bytes: when all of them were taken, finish_writes() is done too, in the same packet
  // where the stream can do so. Otherwise it was a write().
  virtual IoResult write_last(std::span<const iovec> data);
  // Ends both directions at once so that the peer sees an error (RST, RST_STREAM). Only destruction may
  // follow.
  virtual void reset() = 0;
  // After finish_writes(): the peer's end is not waited for. Destruction then lets the kernel send what was
  // written instead of resetting the connection. Nothing may be read any more.
  virtual void let_go() {}
  // Bytes this object keeps alive now beyond its own size (unsent data, TLS records): for per-pod accounting.
  virtual std::size_t buffered() const = 0;
  // The TCP socket's descriptor if this is or rests on one, else -1 (for getsockname, TCP_INFO; never for
  // I/O).
  virtual int descriptor() const { return -1; }

 protected:
  StreamEvents* events_ = nullptr;
};

// A connected non-blocking TCP socket on a loop (set_connection_options() called by whoever made it).
std::unique_ptr<Stream> make_tcp_stream(Loop& loop, Fd socket);

// Reads from `prefix` first, then from the stream: for bytes consumed by detection. The prefix is freed when
// read.
std::unique_ptr<Stream> with_prefix(Loop& loop, std::unique_ptr<Stream> stream,
                                    std::span<const std::byte> prefix);

}  // namespace heddle::proxy
