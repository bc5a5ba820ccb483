// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ctime>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "control/admin/http.h"

namespace heddle::control {
namespace {

Fd dial(std::uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const auto size = SocketAddress{IpAddress::parse("127.0.0.1").value(), port}.to_sockaddr(address);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0) << std::strerror(errno);
  return fd;
}

std::string get(const Fd& fd, const std::string& path) {
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_GT(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
  std::string answer;
  char chunk[4096];
  for (ssize_t got = 0; (got = ::recv(fd.get(), chunk, sizeof chunk, 0)) > 0;)
    answer.append(chunk, static_cast<std::size_t>(got));
  return answer;
}

TEST(ControlAdmin, AnswersWhatItKnows) {
  const auto server =
      AdminServer::start("127.0.0.1:0", {[] { return "x 1\n"; }, [] { return false; }}).value();
  EXPECT_NE(get(dial(server->port()), "/metrics").find("x 1\n"), std::string::npos);
  EXPECT_TRUE(get(dial(server->port()), "/live").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(get(dial(server->port()), "/ready").starts_with("HTTP/1.1 503"));
  EXPECT_TRUE(get(dial(server->port()), "/else").starts_with("HTTP/1.1 404"));
}

TEST(ControlAdmin, RestsWhileThereIsNoDescriptorForAConnectionAndServesItAfterwards) {
  const auto server =
      AdminServer::start("127.0.0.1:0", {[] { return "x 1\n"; }, [] { return true; }}).value();
  EXPECT_TRUE(get(dial(server->port()), "/live").starts_with("HTTP/1.1 200"));
  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  std::vector<Fd> all;
  while (true) {
    Fd one(::dup(0));
    if (!one) break;
    all.push_back(std::move(one));
  }
  sockaddr_storage address{};
  const auto size = SocketAddress{IpAddress::parse("127.0.0.1").value(), server->port()}.to_sockaddr(address);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  timespec before{};
  timespec after{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  timeval half_a_second{0, 500'000};  // nobody answers in it
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &half_a_second, sizeof half_a_second);
  char byte = 0;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), -1);
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  all.clear();
  const double used = static_cast<double>(after.tv_sec - before.tv_sec) +
                      static_cast<double>(after.tv_nsec - before.tv_nsec) / 1e9;
  EXPECT_LT(used, 0.1) << "seconds of CPU in half a second";
  timeval ten_seconds{10, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &ten_seconds, sizeof ten_seconds);
  EXPECT_TRUE(get(client, "/live").starts_with("HTTP/1.1 200"));
}

}  // namespace
}  // namespace heddle::control
