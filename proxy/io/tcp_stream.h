// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/io/connection.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct SocketOrigin;

// Takes sockets back that can connect once more.
class SocketReturns {
 public:
  // `socket` is disconnected: unconnected and unbound, options and the agent's tag as they were. Called on
  // the worker's thread, also from destructors of streams: must not call a stream's owner from inside.
  virtual void give_back(Fd socket, const SocketOrigin& origin) = 0;

 protected:
  ~SocketReturns() = default;
};

// Where a socket came from, and goes back to when its connection ended in order.
struct SocketOrigin {
  static constexpr std::uint32_t last_generation = (1U << 30) - 1;

  std::shared_ptr<SocketReturns> returns;  // null: the socket is closed
  std::uint64_t netns_cookie = 0;
  std::uint32_t pod_id = 0;
  std::uint32_t generation : 30 = 0;  // older than its origin's: not wanted back
  std::uint32_t ipv6 : 1 = 0;
  std::uint32_t shows_client : 1 = 0;  // the kernel was told of a client (HEDDLE_SO_CLIENT_ADDRESS)
};

// A TCP socket as a Stream. Usually made by make_tcp_stream(); the dialer makes one of a connecting socket,
// so that a connection is registered with epoll once in its life.
class TcpStream final : public Stream, private IoHandler {
 public:
  // A connected non-blocking socket, of the loop's current share.
  TcpStream(Loop& loop, Fd socket);
  // A connecting one: on_writable() is called when connect(2) finished either way. Goes back to its origin
  // when both sides ended the connection in order and the peer has acknowledged all of it; else it is closed.
  TcpStream(Loop& loop, Fd socket, SocketOrigin origin, ShareRef share = {});
  ~TcpStream() override;

  IoResult read(std::span<std::byte> into) override;
  IoResult write(std::span<const iovec> data) override { return send(data, 0); }
  IoResult write_last(std::span<const iovec> data) override;
  void finish_writes() override;
  void reset() override;
  void let_go() override { read_ended_ = true; }
  std::size_t buffered() const override { return 0; }
  int descriptor() const override { return socket_.get(); }

  // Did the socket report an error or an end? Without, a connection attempt that became writable succeeded.
  bool peer_closing() const { return peer_closing_; }
  // Set when epoll refused the socket (out of memory or watches): the stream only reports that error.
  int registration_error() const { return error_; }

 private:
  void on_io(std::uint32_t events) override;
  IoResult send(std::span<const iovec> data, int flags);
  IoResult wait_until_writable();
  void fit_room_to_reader();
  void send_held_ack();
  void watch(std::uint32_t events, ShareRef share);
  void leave_socket();
  bool disconnect();

  Loop& loop_;
  Fd socket_;
  SocketOrigin origin_;
  bool* gone_ = nullptr;  // set while a callback runs: tells it that the stream was destroyed inside
  int error_ = 0;         // of reading
  int write_error_ = 0;   // apart: after EPIPE the peer's last bytes can still be read
  int unsent_room_ = unsent_bytes_at_first;
  std::uint64_t taken_ = 0;             // by the kernel, since
  Loop::Clock::time_point no_room_at_;  // the last time that it had no room for more
  bool want_write_ = false;
  bool watches_writing_ = false;
  bool write_blocked_ = false;  // a short write: wait for the edge, spare the system call
  // A short read, or none before the first event: the same. epoll tells of what was there before it was
  // asked.
  bool drained_ = true;
  bool peer_closing_ = false;   // RDHUP or HUP seen: the end may already be behind the bytes
  bool peer_finished_ = false;  // RDHUP seen and no error: the end is behind the bytes
  bool urgent_ = false;         // urgent data makes reads short without the socket being empty
  bool ack_held_ = false;       // connecting: see hold_handshake_ack()
  bool read_ended_ = false;
  bool write_ended_ = false;
};

// Before connect(2): the handshake's last ACK waits for the first bytes and travels with them (TCP_QUICKACK,
// tcp(7)), one packet and one wake-up of the server less. The TcpStream of a connecting socket sends it at
// once when nothing is written as soon as the connection stands.
void hold_handshake_ack(int socket);

// SO_LINGER 0: closing resets the connection.
void set_reset_on_close(int socket);

}  // namespace heddle::proxy
