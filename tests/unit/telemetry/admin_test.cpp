// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/admin.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "tests/support/eventually.h"

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;

class Admin : public testing::Test {
 protected:
  Admin() {
    options.address = SocketAddress::parse("127.0.0.1:0").value();
    options.socket_path = path;
  }
  ~Admin() override {
    server.reset();
    ::unlink(path.c_str());
  }
  void start() { server = AdminServer::start(options, registry, readiness, recorder, hooks).value(); }

  static Fd dial_unix(const std::string& to) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    to.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << strerror(errno);
    return fd;
  }
  static Fd dial_tcp(std::uint16_t port) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    const auto size = SocketAddress{IpAddress::parse("127.0.0.1").value(), port}.to_sockaddr(address);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0) << strerror(errno);
    return fd;
  }
  // Everything until the server closes.
  static std::string ask(Fd fd, const std::string& method, const std::string& target,
                         const std::string& body = "", const std::string& header = "") {
    const std::string request = method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
                                header + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string answer;
    char bytes[4096];
    for (ssize_t n = 0; (n = ::recv(fd.get(), bytes, sizeof bytes, 0)) > 0;)
      answer.append(bytes, static_cast<std::size_t>(n));
    return answer;
  }
  std::string get(const std::string& target) { return ask(dial_unix(path), "GET", target); }

  const std::string path = testing::TempDir() + "admin-" + std::to_string(::getpid()) + ".sock";
  AdminOptions options;
  MetricsRegistry registry;
  Readiness readiness;
  Recorder recorder{AccessLogFormat::off};
  AdminHooks hooks;
  std::unique_ptr<AdminServer> server;
};

TEST_F(Admin, AnswersOverTcpAndTheUnixSocket) {
  start();
  EXPECT_TRUE(ask(dial_tcp(server->port()), "GET", "/live").starts_with("HTTP/1.1 200 OK"));
  EXPECT_TRUE(get("/live").starts_with("HTTP/1.1 200 OK"));
  const auto metrics = ask(dial_tcp(server->port()), "GET", "/metrics");
  EXPECT_NE(metrics.find("text/plain; version=0.0.4"), std::string::npos);
  EXPECT_NE(metrics.find("process_start_time_seconds"), std::string::npos);
  EXPECT_TRUE(ask(dial_tcp(server->port()), "GET", "/nothing").starts_with("HTTP/1.1 404"));
}

TEST_F(Admin, KeepsTheInsideToTheUnixSocket) {
  hooks.state = [](AdminHooks::Reply reply) { reply("{}"); };
  start();
  EXPECT_TRUE(get("/state").starts_with("HTTP/1.1 200"));
  for (const char* target : {"/state", "/tap", "/explain?pod=a/b&dst=1.2.3.4:5", "/loglevel"}) {
    EXPECT_TRUE(ask(dial_tcp(server->port()), "GET", target).starts_with("HTTP/1.1 404")) << target;
  }
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(Admin, NegotiatesOpenMetrics) {
  start();
  const auto answer = ask(dial_unix(path), "GET", "/metrics", "", "Accept: application/openmetrics-text\r\n");
  EXPECT_NE(answer.find("application/openmetrics-text"), std::string::npos);
  EXPECT_NE(answer.find("# EOF\n"), std::string::npos);
}

TEST_F(Admin, SaysWhatIsMissingUntilReady) {
  start();
  EXPECT_NE(get("/ready").find("503"), std::string::npos);
  EXPECT_NE(get("/ready").find("waiting for the agent's pods"), std::string::npos);
  readiness.snapshot = true;
  EXPECT_NE(get("/ready").find("waiting for control"), std::string::npos);
  readiness.discovery = true;
  EXPECT_TRUE(get("/ready").starts_with("HTTP/1.1 200"));
  readiness.draining = true;
  EXPECT_TRUE(get("/ready").starts_with("HTTP/1.1 503"));
}

TEST_F(Admin, AsksOthersForStateAndExplanations) {
  std::vector<std::thread> threads;
  hooks.state = [&](AdminHooks::Reply reply) { threads.emplace_back([reply] { reply("{\"pods\":[]}"); }); };
  hooks.explain = [](std::string pod, SocketAddress dst, AdminHooks::Reply reply) {
    reply("{\"pod\":\"" + pod + "\",\"dst\":\"" + dst.to_string() + "\"}");
  };
  start();
  EXPECT_NE(get("/state").find("{\"pods\":[]}"), std::string::npos);
  EXPECT_NE(
      get("/explain?pod=shop%2Fweb&dst=10.0.0.1:80").find("{\"pod\":\"shop/web\",\"dst\":\"10.0.0.1:80\"}"),
      std::string::npos);
  EXPECT_TRUE(get("/explain?pod=web&dst=nonsense").starts_with("HTTP/1.1 400"));
  for (auto& t : threads) t.join();
}

TEST_F(Admin, LetsAnAnswerComeWhenItIsGone) {
  std::promise<AdminHooks::Reply> asked;
  hooks.state = [&](AdminHooks::Reply reply) { asked.set_value(std::move(reply)); };
  start();
  auto fd = dial_unix(path);
  const std::string request = "GET /state HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_GT(::send(fd.get(), request.data(), request.size(), 0), 0);
  const auto reply = asked.get_future().get();
  server.reset();
  reply("{}");
}

TEST_F(Admin, TellsWhichFilterATapDoesNotKnow) {
  start();
  const auto answer = get("/tap?namespace=shop");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer;
  EXPECT_NE(answer.find("no filter 'namespace'"), std::string::npos) << answer;
}

TEST_F(Admin, ChangesTheLogLevel) {
  start();
  EXPECT_NE(ask(dial_unix(path), "PUT", "/loglevel", "debug\n").find("debug"), std::string::npos);
  EXPECT_EQ(spdlog::get_level(), spdlog::level::debug);
  EXPECT_TRUE(ask(dial_unix(path), "PUT", "/loglevel", "loud").starts_with("HTTP/1.1 400"));
  EXPECT_NE(ask(dial_unix(path), "PUT", "/loglevel", "info").find("info"), std::string::npos);
}

TEST_F(Admin, StreamsWhatATapAsksFor) {
  start();
  auto telemetry = registry.make_telemetry(&recorder);
  auto fd = dial_unix(path);
  const std::string request = "GET /tap?method=GET HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_GT(::send(fd.get(), request.data(), request.size(), 0), 0);
  std::string answer;
  const auto read_until = [&](const std::string& wanted) {
    char bytes[4096];
    while (answer.find(wanted) == std::string::npos) {
      const auto n = ::recv(fd.get(), bytes, sizeof bytes, 0);
      if (n <= 0) return false;
      answer.append(bytes, static_cast<std::size_t>(n));
    }
    return true;
  };
  ASSERT_TRUE(read_until("\r\n\r\n"));
  ASSERT_TRUE(telemetry->recording());
  TrafficRecord r;
  r.method = "POST";
  r.path = "/hidden";
  telemetry->record(r);
  r.method = "GET";
  r.path = "/seen";
  telemetry->record(r);
  EXPECT_TRUE(read_until("/seen")) << answer;
  EXPECT_EQ(answer.find("/hidden"), std::string::npos);
  fd.reset();
  EXPECT_TRUE(heddle::test::eventually([this] { return !recorder.recording(); }))
      << "the tap outlived its reader";
}

TEST_F(Admin, LeavesItsAddressToANewerProxyWhenToldTo) {
  start();
  const auto port = server->port();
  AdminOptions second = options;
  second.address->port = port;
  auto newer = AdminServer::start(second, registry, readiness, recorder, hooks).value();
  ASSERT_EQ(newer->port(), 0);
  server->release_address();
  EXPECT_TRUE(heddle::test::eventually([&] { return newer->port() != 0; }));
  EXPECT_EQ(newer->port(), port);
  EXPECT_EQ(server->port(), 0);
}

TEST_F(Admin, WaitsForAnAddressThatAnOlderProxyHolds) {
  start();
  const auto port = server->port();
  ASSERT_NE(port, 0);
  AdminOptions second = options;
  second.address->port = port;
  auto newer = AdminServer::start(second, registry, readiness, recorder, hooks).value();
  EXPECT_EQ(newer->port(), 0);
  // The newer one has the UNIX socket at once...
  EXPECT_TRUE(get("/live").starts_with("HTTP/1.1 200"));
  server.reset();
  // ...which the older one leaves alone, and the address when it is free.
  EXPECT_TRUE(heddle::test::eventually([&] { return newer->port() != 0; }));
  EXPECT_EQ(newer->port(), port);
  EXPECT_TRUE(get("/live").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(ask(dial_tcp(port), "GET", "/live").starts_with("HTTP/1.1 200"));
}

TEST_F(Admin, NamesAnImpossibleSocketPath) {
  options.socket_path = "/nonexistent/folder/admin.sock";
  auto started = AdminServer::start(options, registry, readiness, recorder, hooks);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message().find("/nonexistent/folder/admin.sock"), std::string::npos);
  options.socket_path = "/" + std::string(200, 'a');
  EXPECT_FALSE(AdminServer::start(options, registry, readiness, recorder, hooks));
}

TEST_F(Admin, RefusesRequestsThatAreTooLong) {
  start();
  EXPECT_EQ(ask(dial_unix(path), "GET", "/" + std::string(20'000, 'a')), "");
  EXPECT_TRUE(get("/live").starts_with("HTTP/1.1 200"));
}

}  // namespace
}  // namespace heddle::proxy
