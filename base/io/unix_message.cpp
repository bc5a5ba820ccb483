// SPDX-License-Identifier: Apache-2.0
#include "base/io/unix_message.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace heddle {
namespace {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return make_error(
        Errc::invalid_argument,
        "socket path '" + path + "' must have 1 to 107 bytes (unix(7)); choose a shorter --run-dir");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

Result<Fd> connect_unix(const std::string& path, bool nonblocking) {
  auto address = unix_address(path);
  if (!address) return address.error();
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return make_errno(errno, "cannot create a UNIX socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return make_errno(errno, "cannot connect to " + path);
  }
  if (nonblocking) {
    // connect(2) first: a SEQPACKET connect completes or fails at once, a non-blocking one could say EAGAIN.
    if (::fcntl(fd.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return make_errno(errno, "fcntl(O_NONBLOCK)");
  }
  return fd;
}

Result<Fd> listen_unix(const std::string& path, mode_t mode, bool nonblocking) {
  auto address = unix_address(path);
  if (!address) return address.error();
  if (auto live = connect_unix(path, false); live) {
    return make_error(Errc::already_exists,
                      "another process serves " + path + "; stop it or choose another --run-dir");
  } else if (live.error().code.value() == ECONNREFUSED) {
    ::unlink(path.c_str());
  }
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0));
  if (!fd) return make_errno(errno, "cannot create a UNIX socket");
  // The socket file must never be reachable with a wider mode than asked for, not even between bind and
  // chmod.
  const mode_t previous = ::umask(0777 & ~mode);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  const int bind_errno = errno;
  ::umask(previous);
  if (bound != 0) return make_errno(bind_errno, "cannot listen at " + path);
  if (::chmod(path.c_str(), mode) != 0) return make_errno(errno, "cannot set the mode of " + path);
  if (::listen(fd.get(), 1024) != 0) return make_errno(errno, "cannot listen at " + path);
  return fd;
}

Result<Fd> accept_unix(const Fd& listener, bool nonblocking) {
  Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0)));
  if (!fd) return make_errno(errno, "accept on a UNIX socket");
  return fd;
}

Result<> send_unix(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (bytes.size() > max_unix_message_bytes || fds.size() > max_unix_message_fds) {
    return make_error(Errc::invalid_argument, "UNIX message too large: " + std::to_string(bytes.size()) +
                                                  " bytes, " + std::to_string(fds.size()) + " descriptors");
  }
  iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(max_unix_message_fds * sizeof(int))> control{};
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return make_errno(errno, "send on a UNIX socket");
  return {};
}

Result<UnixMessage> receive_unix(int socket, CutFds cut) {
  thread_local std::string buffer(max_unix_message_bytes, '\0');
  iovec vector{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(max_unix_message_fds * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == ECONNRESET) return make_error(Errc::closed, "the peer closed the UNIX socket");
    return make_errno(errno, "receive on a UNIX socket");
  }
  UnixMessage out;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      out.fds.emplace_back(fd);
    }
  }
  if (received == 0) return make_error(Errc::closed, "the peer closed the UNIX socket");
  out.fds_cut = (message.msg_flags & MSG_CTRUNC) != 0;
  if ((message.msg_flags & MSG_TRUNC) != 0 || (out.fds_cut && cut == CutFds::refuse)) {
    return make_error(Errc::protocol,
                      "a UNIX message was cut (too large, or no descriptor left: see RLIMIT_NOFILE)");
  }
  out.bytes.assign(buffer.data(), static_cast<std::size_t>(received));
  return out;
}

Result<PeerCredentials> peer_credentials(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return make_errno(errno, "getsockopt(SO_PEERCRED)");
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace heddle
