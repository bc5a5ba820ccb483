// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/message_size.h"
#include "base/result.h"

namespace heddle {

// Messages with descriptors over UNIX SOCK_SEQPACKET sockets: one send is one receive, boundaries are kept by
// the kernel, descriptors travel with SCM_RIGHTS (unix(7)). All functions work on blocking and non-blocking
// sockets; a full or empty non-blocking socket is errno EAGAIN in the error's code.

struct UnixMessage {
  std::string bytes;
  std::vector<Fd> fds;
  bool fds_cut = false;  // some of the descriptors were lost (CutFds::mark)
};
// What becomes of a message whose descriptors this process had no room for (RLIMIT_NOFILE).
enum class CutFds : std::uint8_t { refuse, mark };

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

// Listens at `path` with the given mode, owner unchanged. A stale socket file (nobody answers) is replaced; a
// live one is Errc::already_exists. Paths of 108 bytes and more are refused with advice.
Result<Fd> listen_unix(const std::string& path, mode_t mode, bool nonblocking);
Result<Fd> connect_unix(const std::string& path, bool nonblocking);
Result<Fd> accept_unix(const Fd& listener, bool nonblocking);

// Whole message or error. The caller keeps the descriptors it sends.
Result<> send_unix(int socket, std::string_view bytes, const std::vector<int>& fds = {});
// Errc::closed when the peer ended the conversation, Errc::protocol when the message or its descriptors were
// cut, unless cut descriptors are to be marked.
Result<UnixMessage> receive_unix(int socket, CutFds cut = CutFds::refuse);

// SO_PEERCRED: the credentials at connect(2) time, vouched for by the kernel.
Result<PeerCredentials> peer_credentials(int socket);

}  // namespace heddle
