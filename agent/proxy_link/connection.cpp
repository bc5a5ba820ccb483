// SPDX-License-Identifier: Apache-2.0
#include "agent/proxy_link/connection.h"

#include <cerrno>

namespace heddle::agent {
namespace {

constexpr int messages_per_turn = 64;  // so that one busy peer does not starve the others
constexpr std::chrono::milliseconds retry_after_refusal{20};

bool is_errno(const Error& error, int value) {
  return error.code == boost::system::error_code(value, boost::system::generic_category());
}

}  // namespace

Connection::Connection(Loop& loop, Fd socket, std::function<void(UnixMessage)> on_message,
                       std::function<void(const Error&)> on_closed)
    : loop_(loop),
      socket_(std::move(socket)),
      on_message_(std::move(on_message)),
      on_closed_(std::move(on_closed)) {
  readable_ = loop_.watch(socket_.get(), Loop::Ready::readable, [this] { read(); });
}

void Connection::read() {
  const auto alive = alive_;
  for (int i = 0; i < messages_per_turn && *alive && !closed_; ++i) {
    auto message = receive_unix(socket_.get());
    if (!message) {
      if (is_errno(message.error(), EAGAIN)) return;
      close(message.error());
      return;
    }
    on_message_(std::move(*message));
  }
}

bool Connection::send(Build build) {
  if (closed_) return true;  // the owner hears of the end soon
  if (queue_.size() >= max_queued) return false;
  queue_.push_back(std::move(build));
  if (!flushing_ && !writable_ && !again_) flush();
  return true;
}

void Connection::flush() {
  flushing_ = true;
  const auto alive = alive_;
  for (int left = messages_per_turn; !closed_ && (stuck_ || !queue_.empty()); --left) {
    if (left == 0) {
      flush_after(std::chrono::milliseconds(0));
      break;
    }
    if (!stuck_) {
      const Build build = std::move(queue_.front());
      queue_.pop_front();
      stuck_ = build();
      if (!*alive) return;
      if (!stuck_) continue;
    }
    auto sent = send_unix(socket_.get(), stuck_->bytes, stuck_->fds);
    if (sent) {
      stuck_.reset();
      continue;
    }
    if (is_errno(sent.error(), EAGAIN)) {
      if (!writable_) {
        writable_ = loop_.watch(socket_.get(), Loop::Ready::writable, [this] {
          writable_.reset();
          flush();
        });
      }
      break;
    }
    if (is_errno(sent.error(), ETOOMANYREFS) || is_errno(sent.error(), ENOBUFS) ||
        is_errno(sent.error(), ENOMEM)) {
      // Too many descriptors in flight: the peer has to take some first; no readiness event tells.
      flush_after(retry_after_refusal);
      break;
    }
    if (sent.error().code == make_error_code(Errc::invalid_argument) || is_errno(sent.error(), EMSGSIZE)) {
      // One pod's message must not end the conversation about all the others.
      spdlog::error("message to a proxy dropped bytes={} error=\"{}\"", stuck_->bytes.size(),
                    sent.error().message());
      stuck_.reset();
      continue;
    }
    const Error error = sent.error();
    flushing_ = false;
    close(error);
    return;
  }
  flushing_ = false;
}

void Connection::flush_after(std::chrono::milliseconds pause) {
  again_ = loop_.after(pause, [this] {
    again_.reset();
    flush();
  });
}

void Connection::close(const Error& error) {
  if (closed_) return;
  closed_ = true;
  readable_.reset();
  writable_.reset();
  again_.reset();
  queue_.clear();
  stuck_.reset();
  // Not from here: the caller may be in the middle of a send().
  loop_.post([alive = alive_, this, error] {
    if (*alive) on_closed_(error);
  });
}

}  // namespace heddle::agent
