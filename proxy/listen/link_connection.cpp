// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/link_connection.h"

#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>

namespace heddle::proxy {
namespace {

constexpr std::size_t max_queue = 32'768;
constexpr int messages_per_turn = 64;

bool would_block(const Error& error) {
  return error.code == make_errno(EAGAIN).code;
}

}  // namespace

LinkConnection::LinkConnection(Loop& loop, Fd socket, Events events)
    : loop_(loop),
      socket_(std::move(socket)),
      events_(std::move(events)),
      self_(std::make_shared<LinkConnection*>(this)) {
  if (auto added = loop_.add(socket_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, *this); !added) {
    loop_.defer([self = self_, error = added.error()] {
      if (*self != nullptr) (*self)->close(error);
    });
  }
}

LinkConnection::~LinkConnection() {
  *self_ = nullptr;
  if (socket_) loop_.remove(socket_.get(), *this);
}

void LinkConnection::send(std::string bytes, std::shared_ptr<PodListeners> listeners) {
  if (!socket_) return;
  queue_.push_back({std::move(bytes), std::move(listeners)});
  if (queue_.size() == 1) flush();
  if (queue_.size() > max_queue)
    close(make_error(Errc::exhausted, "the agent does not read what it is told"));
}

void LinkConnection::flush() {
  while (!queue_.empty()) {
    const Outgoing& next = queue_.front();
    std::vector<int> descriptors;
    if (next.listeners) descriptors = {next.listeners->outbound.get(), next.listeners->inbound.get()};
    if (auto sent = send_unix(socket_.get(), next.bytes, descriptors); !sent) {
      if (!would_block(sent.error())) {
        // Reported from the loop: the caller may be in the middle of something.
        loop_.defer([self = self_, error = sent.error()] {
          if (*self != nullptr) (*self)->close(error);
        });
        queue_.clear();
      }
      return;
    }
    queue_.pop_front();
  }
}

void LinkConnection::flush_now() {
  for (int attempt = 0; attempt < 20 && socket_ && !queue_.empty(); ++attempt) {
    pollfd wait{socket_.get(), POLLOUT, 0};
    ::poll(&wait, 1, 50);
    flush();
  }
}

void LinkConnection::on_io(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) receive();
}

void LinkConnection::receive() {
  const auto self = self_;
  for (int i = 0; i < messages_per_turn; ++i) {
    if (*self == nullptr || !socket_) return;
    auto message = receive_unix(socket_.get(), CutFds::mark);
    if (!message) {
      if (!would_block(message.error())) close(message.error());
      return;
    }
    events_.message(std::move(*message));
  }
  loop_.defer([self] {
    if (*self != nullptr) (*self)->receive();
  });
}

void LinkConnection::close(const Error& error) {
  if (!socket_) return;
  loop_.remove(socket_.get(), *this);
  socket_.reset();
  queue_.clear();
  events_.closed(error);
}

}  // namespace heddle::proxy
