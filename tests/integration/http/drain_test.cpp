// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "tests/integration/http/proxy_lab.h"

namespace heddle::proxy {
namespace {

// A connection that was still being detected when its proxy began to drain: HTTP gets it from the pipeline
// afterwards.
class DetectedWhileDraining : public ::testing::Test {
 protected:
  void drain() {
    lab_.run([this] { lab_.client().draining = true; });
  }
  Nginx nginx_{"location / { return 200 \"hello\\n\"; }"};
  ProxyLab lab_;
};

TEST_F(DetectedWhileDraining, Http1IsAnsweredWithConnectionClose) {
  const auto entry = lab_.listen_outbound(lab_.plain(nginx_.address()), Protocol::http1);
  drain();
  const Ran ran = run_command("curl -sS -m 5 -i http://" + entry.to_string() + "/");
  EXPECT_EQ(ran.status, 0) << ran.out;
  EXPECT_NE(ran.out.find("hello"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("connection: close"), std::string::npos) << ran.out;
}

TEST_F(DetectedWhileDraining, Http2IsAnsweredAndToldToGoElsewhere) {
  Nginx nginx("location / { return 200 \"hello\\n\"; }", "http2");
  const auto entry = lab_.listen_outbound(lab_.plain(nginx.address()), Protocol::http2);
  drain();
  sockaddr_storage storage{};
  const socklen_t size = entry.to_sockaddr(storage);
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size), 0);
  // Preface, SETTINGS, and HEADERS of stream 1: GET / of authority "a".
  const std::string ask = std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") +
                          std::string("\0\0\0\4\0\0\0\0\0", 9) +
                          std::string("\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a", 15);
  ASSERT_EQ(::send(socket.get(), ask.data(), ask.size(), 0), static_cast<ssize_t>(ask.size()));
  std::string heard;
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while ((got = ::recv(socket.get(), buffer.data(), buffer.size(), 0)) > 0)
    heard.append(buffer.data(), static_cast<std::size_t>(got));
  EXPECT_EQ(got, 0) << "it ends by itself, in order";
  EXPECT_NE(heard.find("hello\n"), std::string::npos) << "what came before the last GOAWAY is answered";
  std::vector<int> types;
  for (std::size_t at = 0; at + 9 <= heard.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(heard[at + i]); };
    types.push_back(byte(3));
    at += 9 + static_cast<std::size_t>(byte(0) << 16 | byte(1) << 8 | byte(2));
  }
  EXPECT_EQ(std::count(types.begin(), types.end(), 7), 2) << "a notice, then the last GOAWAY";
}

}  // namespace
}  // namespace heddle::proxy
