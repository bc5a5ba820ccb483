// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/tcp_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "proxy/io/unsent_room.h"

namespace heddle::proxy {
namespace {

constexpr std::uint32_t watched = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

// One part needs no message to be described, which the kernel would copy first.
ssize_t send_parts(int socket, std::span<const iovec> parts, int flags) {
  if (parts.size() == 1) return ::send(socket, parts[0].iov_base, parts[0].iov_len, flags);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = std::min<std::size_t>(parts.size(), 1024);  // IOV_MAX
  return ::sendmsg(socket, &message, flags);
}

}  // namespace

void hold_handshake_ack(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_QUICKACK, 0);
}

void set_reset_on_close(int socket) {
  const linger now{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

TcpStream::TcpStream(Loop& loop, Fd socket) : loop_(loop), socket_(std::move(socket)) {
  watch(watched, ShareRef(loop_.current()));
}

TcpStream::TcpStream(Loop& loop, Fd socket, SocketOrigin origin, ShareRef share)
    : loop_(loop),
      socket_(std::move(socket)),
      origin_(std::move(origin)),
      want_write_(true),
      watches_writing_(true),
      ack_held_(true) {
  watch(watched | EPOLLOUT, std::move(share));
}

TcpStream::~TcpStream() {
  if (gone_ != nullptr) *gone_ = true;
  if (!socket_) return;
  if (read_ended_ && write_ended_) {
    leave_socket();
    return;
  }
  loop_.closing(socket_.get(), *this);
  set_reset_on_close(socket_.get());
}

void TcpStream::watch(std::uint32_t events, ShareRef share) {
  if (auto added = loop_.add(socket_.get(), events, *this, std::move(share)); !added) {
    error_ = write_error_ = added.error().code.value();
  }
}

// The connection ended in order: back to where the socket came from, else closing sends what was written and
// the FIN.
void TcpStream::leave_socket() {
  if (origin_.returns && disconnect()) {
    origin_.returns->give_back(std::move(socket_), origin_);
    return;
  }
  loop_.closing(socket_.get(), *this);
  socket_.reset();
}

// The kernel lets a TCP socket go from one connection to the next (connect(2), AF_UNSPEC), but drops what the
// peer has not acknowledged: so only once the state is CLOSE, which is when there is no peer to be named. On
// one machine that is when shutdown(2) returns; what takes longer is closed as ever.
bool TcpStream::disconnect() {
  if (error_ != 0 || write_error_ != 0) return false;
  ::shutdown(socket_.get(), SHUT_WR);
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0 || errno != ENOTCONN)
    return false;
  int error = 0;  // a reset that came last: the next connection would be told of it
  size = sizeof error;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return false;
  if (unsent_room_ != unsent_bytes_at_first)
    set_option(socket_.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes_at_first);
  const sockaddr nobody{AF_UNSPEC, {}};
  loop_.remove(socket_.get(), *this);
  return ::connect(socket_.get(), &nobody, sizeof nobody) == 0;
}

IoResult TcpStream::read(std::span<std::byte> into) {
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (read_ended_) return {IoStatus::eof};
  if (drained_) return {IoStatus::would_block};
  ssize_t got = 0;
  do {
    got = ::recv(socket_.get(), into.data(), into.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    // A short read emptied the socket, and whatever arrives later rings again (epoll(7)); only an end already
    // announced, or urgent data, may hide behind it.
    const bool emptied = static_cast<std::size_t>(got) < into.size() && !urgent_;
    drained_ = emptied && !peer_closing_;
    // The peer's end had arrived before this read, behind all of its bytes.
    read_ended_ = emptied && peer_finished_;
    return {IoStatus::ok, static_cast<std::size_t>(got), 0, read_ended_, drained_};
  }
  if (got == 0) {
    if (into.empty()) return {IoStatus::ok};
    read_ended_ = true;
    return {IoStatus::eof};
  }
  if (errno == EAGAIN) {
    drained_ = true;
    return {IoStatus::would_block};
  }
  error_ = errno;
  return {IoStatus::error, 0, error_};
}

IoResult TcpStream::send(std::span<const iovec> data, int flags) {
  if (write_error_ != 0) return {IoStatus::error, 0, write_error_};
  if (write_ended_) return {IoStatus::error, 0, EPIPE};
  if (write_blocked_) return wait_until_writable();
  std::size_t wanted = 0;
  for (const iovec& part : data) wanted += part.iov_len;
  ssize_t sent = 0;
  do {
    sent = send_parts(socket_.get(), data, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    ack_held_ = false;
    // The kernel promises a writable edge after a short write as it does after EAGAIN (SOCK_NOSPACE is set).
    write_blocked_ = static_cast<std::size_t>(sent) < wanted && data.size() <= 1024;
    taken_ += static_cast<std::size_t>(sent);
    if (write_blocked_) fit_room_to_reader();
    return {IoStatus::ok, static_cast<std::size_t>(sent)};
  }
  if (errno == EAGAIN) {
    fit_room_to_reader();
    return wait_until_writable();
  }
  write_error_ = errno;
  return {IoStatus::error, 0, write_error_};
}

void TcpStream::fit_room_to_reader() {
  const auto now = loop_.now();
  const auto since = std::exchange(no_room_at_, now);
  const auto taken = std::exchange(taken_, 0);
  if (since == Loop::Clock::time_point()) return;  // what was taken so far filled buffers
  const int room = unsent_room(taken, now - since, unsent_bytes_at_first);
  if (room == unsent_room_) return;
  unsent_room_ = room;
  set_option(socket_.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, room);
}

// Most sockets never have to wait; those that watched for it would be reported whenever anything happens to
// them. Asking epoll tells at once what is true already, so no edge is missed.
IoResult TcpStream::wait_until_writable() {
  write_blocked_ = want_write_ = true;
  if (!std::exchange(watches_writing_, true)) {
    if (auto asked = loop_.modify(socket_.get(), watched | EPOLLOUT, *this); !asked) {
      write_error_ = asked.error().code.value();
      return {IoStatus::error, 0, write_error_};
    }
  }
  return {IoStatus::would_block};
}

// Held back until the FIN joins them (MSG_MORE): one packet and one wake-up of the peer less.
IoResult TcpStream::write_last(std::span<const iovec> data) {
  std::size_t wanted = 0;
  for (const iovec& part : data) wanted += part.iov_len;
  const IoResult sent = send(data, MSG_MORE);
  if (sent.status == IoStatus::ok && sent.size == wanted) finish_writes();
  return sent;
}

void TcpStream::finish_writes() {
  if (write_ended_ || write_error_ != 0) return;
  write_ended_ = true;
  if (!read_ended_) {
    ::shutdown(socket_.get(), SHUT_WR);
    return;
  }
  // Nothing is left to read.
  leave_socket();
}

void TcpStream::reset() {
  if (!socket_) return;
  loop_.closing(socket_.get(), *this);
  set_reset_on_close(socket_.get());
  socket_.reset();
  if (error_ == 0) error_ = ECONNRESET;
  if (write_error_ == 0) write_error_ = EPIPE;
}

void TcpStream::on_io(std::uint32_t events) {
  bool gone = false;
  gone_ = &gone;
  if ((events & EPOLLPRI) != 0) urgent_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) peer_closing_ = true;
  if ((events & (EPOLLRDHUP | EPOLLERR)) == EPOLLRDHUP) peer_finished_ = true;
  if ((events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    drained_ = false;
    if (events_ != nullptr) events_->on_readable();
    if (gone) return;
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
    write_blocked_ = false;
    if (want_write_) {
      want_write_ = false;
      if (events_ != nullptr) events_->on_writable();
      if (gone) return;
      send_held_ack();
    }
  }
  gone_ = nullptr;
}

// Nobody had bytes for the new connection: its server may be the one to speak, and waits for the ACK.
void TcpStream::send_held_ack() {
  if (std::exchange(ack_held_, false) && socket_) set_option(socket_.get(), IPPROTO_TCP, TCP_QUICKACK, 1);
}

std::unique_ptr<Stream> make_tcp_stream(Loop& loop, Fd socket) {
  return std::make_unique<TcpStream>(loop, std::move(socket));
}

}  // namespace heddle::proxy
