// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/client.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io/file.h"
#include "base/io/unix_message.h"

namespace heddle::tools {

namespace json = boost::json;

Result<> send_json(int socket, const json::object& object) {
  const auto text = json::serialize(object);
  const Fd memory(::memfd_create("heddle-lab", MFD_CLOEXEC));
  if (!memory) return make_errno(errno, "cannot make a memory file");
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t put = ::write(memory.get(), text.data() + written, text.size() - written);
    if (put < 0) return make_errno(errno, "cannot fill a memory file");
    written += static_cast<std::size_t>(put);
  }
  return send_unix(socket, "json", {memory.get()});
}

Result<json::object> receive_json(int socket) {
  auto message = receive_unix(socket);
  if (!message) return message.error();
  if (message->fds.size() != 1) return make_error(Errc::protocol, "a lab message without its memory file");
  auto text = read_file("/proc/self/fd/" + std::to_string(message->fds[0].get()), 64 * 1024 * 1024);
  if (!text) return text.error();
  boost::system::error_code malformed;
  auto value = json::parse(*text, malformed);
  if (malformed || !value.is_object())
    return make_error(Errc::protocol, "a lab message that is no JSON object");
  return std::move(value.get_object());
}

Result<json::object> ask_lab(const LabLayout& layout, const json::object& request) {
  auto socket = connect_unix(layout.socket(), false);
  if (!socket && (socket.error().code.value() == EACCES || socket.error().code.value() == EPERM)) {
    return make_error(Errc::permission_denied,
                      "you may not ask lab " + layout.name + ": run this as root (sudo)");
  }
  if (!socket) {
    return make_error(Errc::unavailable, "lab " + layout.name +
                                             " does not answer; `heddle lab list` shows labs, `heddle "
                                             "lab down --name " +
                                             layout.name + "` removes what is left of this one");
  }
  timeval limit{30, 0};
  ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (auto sent = send_json(socket->get(), request); !sent) return sent.error();
  auto reply = receive_json(socket->get());
  if (!reply) return reply.error();
  if (const auto* error = reply->if_contains("error")) {
    return make_error(Errc::invalid_argument, std::string(error->as_string()));
  }
  return std::move(*reply);
}

}  // namespace heddle::tools
