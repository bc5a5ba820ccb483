// SPDX-License-Identifier: Apache-2.0
#include "cni/agent_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/io/unix_message.h"

namespace heddle::cni {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds retry_every{20};

// Non-blocking from the start, unlike connect_unix(): with a full backlog connect(2) would wait beyond our
// deadline.
Result<Fd> try_connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return make_error(Errc::invalid_argument, "the agent's socket path " + path + " has more than 107 bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return make_errno(errno, "cannot create a UNIX socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return make_errno(errno, "cannot connect to " + path);
  }
  return fd;
}

bool may_pass(const Error& error) {
  return error.code == boost::system::errc::no_such_file_or_directory ||
         error.code == boost::system::errc::connection_refused ||
         error.code == boost::system::errc::resource_unavailable_try_again;
}

Result<Fd> connect_until(const std::string& path, Clock::time_point deadline) {
  while (true) {
    auto fd = try_connect(path);
    if (fd || !may_pass(fd.error())) return fd;
    const auto now = Clock::now();
    if (now >= deadline) return fd;
    std::this_thread::sleep_for(std::min<Clock::duration>(retry_every, deadline - now));
  }
}

Result<> wait_readable(int fd, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return make_error(Errc::timeout, "heddle-agent did not answer in time");
    pollfd poll{fd, POLLIN, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(left.count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return make_errno(errno, "poll");
  }
}

}  // namespace

Result<node::CniReply> ask_agent(const AgentAddress& address, const node::CniRequest& request, int netns) {
  const auto start = Clock::now();
  auto socket = connect_until(address.socket, start + std::min(address.connect_for, address.timeout));
  if (!socket) return socket.error();
  std::string bytes;
  if (!request.SerializeToString(&bytes))
    return make_error(Errc::internal, "the request cannot be serialized");
  auto sent = netns >= 0 ? send_unix(socket->get(), bytes, {netns}) : send_unix(socket->get(), bytes);
  if (!sent) return sent.error();
  if (auto ready = wait_readable(socket->get(), start + address.timeout); !ready) return ready.error();
  auto message = receive_unix(socket->get());
  if (!message) return message.error();
  node::CniReply reply;
  if (!reply.ParseFromString(message->bytes)) {
    return make_error(Errc::protocol, std::to_string(message->bytes.size()) + " bytes that are no CniReply");
  }
  return reply;
}

}  // namespace heddle::cni
