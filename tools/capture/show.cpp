// SPDX-License-Identifier: Apache-2.0
#include "tools/capture/show.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>

#include "base/io/netns.h"
#include "tools/capture/capture.h"
#include "tools/output/json.h"
#include "tools/output/table.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// The classic pcap format (24-byte head, 16 bytes before each frame), Ethernet, microseconds, host byte
// order.
class PcapWriter {
 public:
  Result<> open(const std::string& path) {
    fd_ = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd_) return make_errno(errno, "cannot write " + path);
    const std::uint32_t head[6] = {0xa1b2c3d4, 2u | 4u << 16, 0, 0, 262144, 1};
    return put(head, sizeof head);
  }
  void frame(std::string_view bytes) {
    if (!fd_) return;
    timeval now{};
    ::gettimeofday(&now, nullptr);
    const auto size = static_cast<std::uint32_t>(bytes.size());
    const std::uint32_t head[4] = {static_cast<std::uint32_t>(now.tv_sec),
                                   static_cast<std::uint32_t>(now.tv_usec), size, size};
    (void)put(head, sizeof head);
    (void)put(bytes.data(), bytes.size());
  }

 private:
  Result<> put(const void* data, std::size_t size) {
    if (::write(fd_.get(), data, size) != static_cast<ssize_t>(size))
      return make_errno(errno, "cannot write the capture");
    return {};
  }
  Fd fd_;
};

std::string printable(const std::string& bytes) {
  std::string out;
  for (const char c : bytes.substr(0, 48)) out += c >= 0x20 && c < 0x7f ? c : '.';
  return out;
}

void print(const WireSummary& wire, Output output) {
  json::array list;
  Table table({"CLIENT", "SERVER", ">BYTES", "ON THE WIRE", "DETAIL"});
  for (const auto& flow : wire.flows()) {
    std::string alpn;
    for (const auto& name : flow.alpn) alpn += (alpn.empty() ? "" : ",") + name;
    list.push_back(json::object{{"client", flow.client.to_string()},
                                {"server", flow.server.to_string()},
                                {"bytes", flow.bytes},
                                {"tls", flow.tls},
                                {"tls13", flow.tls13},
                                {"sni", flow.sni},
                                {"alpn", alpn},
                                {"sample", printable(flow.sample)}});
    auto detail =
        flow.tls ? flow.sni + (alpn.empty() ? "" : " [" + alpn + "]") : "\"" + printable(flow.sample) + "\"";
    if (detail.empty() && !flow.tls13) detail = "(its handshake passed before the capture began)";
    table.add({flow.client.to_string(), flow.server.to_string(), scaled(static_cast<double>(flow.bytes)),
               flow.tls13 ? "TLS 1.3"
               : flow.tls ? "TLS"
                          : "readable",
               detail});
  }
  if (output == Output::json) {
    std::cout << json_text(json::object{{"clear_bytes", wire.clear_bytes()},
                                        {"tls_bytes", wire.tls_bytes()},
                                        {"connections", std::move(list)}},
                           true)
              << "\n";
  } else {
    std::cout << (table.empty() ? "no TCP payload passed\n" : table.render());
    std::cout << wire.clear_bytes() << " bytes readable, " << wire.tls_bytes() << " bytes of TLS records\n";
  }
}

}  // namespace

int show_capture(const CaptureRequest& request, Output output) {
  auto netns = open_netns(request.netns);
  if (!netns) return report(netns.error());
  auto socket = open_capture(netns->get(), request.interface);
  if (!socket) return report(socket.error());
  PcapWriter file;
  if (!request.pcap_file.empty()) {
    if (auto opened = file.open(request.pcap_file); !opened) return report(opened.error());
  }
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  const Fd stop(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  std::cerr << "capturing on " << request.interface << (request.seconds > 0 ? "" : ", Ctrl-C ends it")
            << "\n";
  const auto begin = std::chrono::steady_clock::now();
  WireSummary wire;
  std::string buffer;
  while (request.seconds <= 0 ||
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < request.seconds) {
    pollfd stopped{stop.get(), POLLIN, 0};
    if (::poll(&stopped, 1, 0) > 0) break;
    const auto frame = read_frame(socket->get(), buffer);
    if (frame.empty()) continue;
    file.frame(frame);
    if (const auto segment = parse_frame(frame)) wire.add(*segment);
  }
  print(wire, output);
  if (const auto dropped = dropped_frames(socket->get()); dropped > 0) {
    std::cerr << "heddle: the kernel dropped " << dropped << " frames: what is shown is incomplete\n";
  }
  return 0;
}

}  // namespace heddle::tools
