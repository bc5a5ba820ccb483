// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/support/netns_lab.h"

namespace heddle::test {
namespace {

constexpr int so_original_dst = 80;  // IP6T_SO_ORIGINAL_DST too; their headers clash with netinet/in.h

int family_of(const Fd& socket) {
  int family = 0;
  socklen_t size = sizeof family;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family;
}

socklen_t to_sockaddr(const Fd& socket, const std::string& text, sockaddr_storage& storage) {
  const auto address = SocketAddress::parse(text);
  if (!address) throw std::runtime_error("bad address in a test: " + text);
  return address->to_sockaddr(storage, family_of(socket) == AF_INET6);
}

bool wait_for(const Fd& socket, short events, std::chrono::milliseconds limit) {
  pollfd one{socket.get(), events, 0};
  return ::poll(&one, 1, static_cast<int>(limit.count())) == 1;
}

SocketAddress address_from(const sockaddr_storage& storage) {
  const auto address = SocketAddress::from(storage);
  return address ? *address : SocketAddress{};
}

}  // namespace

int bind_to(const Fd& socket, const std::string& address) {
  sockaddr_storage storage{};
  const auto size = to_sockaddr(socket, address, storage);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&storage), size) == 0 ? 0 : -errno;
}

void listen_on(const Fd& socket, const std::string& address, int backlog) {
  const int bound = bind_to(socket, address);
  if (bound != 0 || ::listen(socket.get(), backlog) != 0) {
    throw std::runtime_error("cannot listen on " + address + ": " +
                             std::strerror(bound != 0 ? -bound : errno));
  }
}

int connect_to(const Fd& socket, const std::string& address, std::chrono::milliseconds limit) {
  sockaddr_storage storage{};
  const auto size = to_sockaddr(socket, address, storage);
  const int flags = ::fcntl(socket.get(), F_GETFL);
  ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  int result = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&storage), size) == 0 ? 0 : -errno;
  if (result == -EINPROGRESS) {
    if (wait_for(socket, POLLOUT, limit)) {
      int error = 0;
      socklen_t error_size = sizeof error;
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &error_size);
      result = -error;
    } else {
      result = -ETIMEDOUT;
    }
  }
  ::fcntl(socket.get(), F_SETFL, flags);
  return result;
}

Fd accept_from(const Fd& listener, SocketAddress* peer, std::chrono::milliseconds limit) {
  if (!wait_for(listener, POLLIN, limit)) return {};
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  Fd accepted(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_CLOEXEC));
  if (peer != nullptr) *peer = address_from(storage);
  return accepted;
}

bool readable(const Fd& socket, std::chrono::milliseconds limit) {
  return wait_for(socket, POLLIN, limit);
}

SocketAddress peer_of(const Fd& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return address_from(storage);
}

SocketAddress local_of(const Fd& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return address_from(storage);
}

bool send_all(const Fd& socket, const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const auto n = ::send(socket.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

std::string read_exactly(const Fd& socket, std::size_t size) {
  std::string out;
  while (out.size() < size && wait_for(socket, POLLIN, patience)) {
    char buffer[4096];
    const auto n = ::recv(socket.get(), buffer, std::min(sizeof buffer, size - out.size()), 0);
    if (n <= 0) break;
    out.append(buffer, static_cast<std::size_t>(n));
  }
  return out;
}

SocketAddress original_dst(const Fd& socket, int* error) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  const bool v4 = peer_of(socket).ip.is_v4();
  const auto ask = [&] {
    return v4 ? ::getsockopt(socket.get(), SOL_IP, so_original_dst, &storage, &size)
              : ::getsockopt(socket.get(), SOL_IPV6, so_original_dst, &storage, &size);
  };
  int result = ask();
  if (result != 0 && errno == ENOENT) {
    local_of(socket);  // has the hook look again
    size = sizeof storage;
    result = ask();
  }
  if (error != nullptr) *error = result == 0 ? 0 : errno;
  return result == 0 ? address_from(storage) : SocketAddress{};
}

}  // namespace heddle::test
