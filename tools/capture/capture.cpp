// SPDX-License-Identifier: Apache-2.0
#include "tools/capture/capture.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/io/netns.h"

namespace heddle::tools {

Result<Fd> open_capture(int netns, const std::string& interface) {
  auto inside = ScopedNetns::enter(netns);
  if (!inside) return inside.error();
  Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // no protocol yet: nothing arrives before bind
  if (!socket) return make_errno(errno, "cannot open a packet socket");
  const int buffer = 64 * 1024 * 1024;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  if (address.sll_ifindex == 0) return make_errno(errno, "no interface " + interface);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return make_errno(errno, "cannot capture on " + interface);
  }
  return socket;
}

std::string_view read_frame(int socket, std::string& buffer) {
  buffer.resize(256 * 1024);
  pollfd wait{socket, POLLIN, 0};
  if (::poll(&wait, 1, 100) <= 0) return {};
  const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
  return got > 0 ? std::string_view(buffer).substr(0, static_cast<std::size_t>(got)) : std::string_view();
}

unsigned dropped_frames(int socket) {
  tpacket_stats stats{};
  socklen_t size = sizeof stats;
  return ::getsockopt(socket, SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0 ? stats.tp_drops : 0;
}

Result<std::unique_ptr<WireCapture>> WireCapture::start(int netns, const std::string& interface,
                                                        const std::string& look_for) {
  auto socket = open_capture(netns, interface);
  if (!socket) return socket.error();
  std::unique_ptr<WireCapture> out(new WireCapture);
  out->socket_ = std::move(*socket);
  if (!look_for.empty()) out->summary_.look_for(look_for);
  out->thread_ = std::thread([capture = out.get()] { capture->work(); });
  return out;
}

WireCapture::~WireCapture() {
  stop();
}

void WireCapture::work() {
  std::string buffer;
  while (true) {
    const bool last = stopping_;
    const auto frame = read_frame(socket_.get(), buffer);
    if (frame.empty() && last) break;
    if (const auto segment = parse_frame(frame)) summary_.add(*segment);
  }
  dropped_ = dropped_frames(socket_.get());
}

const WireSummary& WireCapture::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  return summary_;
}

}  // namespace heddle::tools
