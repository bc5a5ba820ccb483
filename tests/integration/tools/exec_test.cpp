// SPDX-License-Identifier: Apache-2.0
// Running a program in a pod, against a real WebSocket server over TLS.
#include "tools/cluster/exec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <functional>
#include <thread>

#include "base/fd.h"
#include "tests/support/authority/authority.h"
#include "tools/views/link.h"

namespace heddle::tools {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using asio::ip::tcp;
using source::kubernetes::Access;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Socket = websocket::stream<asio::ssl::stream<tcp::socket>>;

std::string frame(char channel, const std::string& bytes) {
  return std::string(1, channel) + bytes;
}
const std::string success = frame(3, R"({"status":"Success"})");

// Serves one exec. `play` speaks after the upgrade; without it the request is refused with `status`.
class ScriptedExec {
 public:
  using Play = std::function<void(Socket&)>;

  explicit ScriptedExec(test::Authority& authority, Play play, unsigned status = 101) {
    test::Authority::Leaf leaf;
    leaf.names = {"kubernetes"};
    const auto pair = authority.issue(leaf);
    tls_.use_certificate_chain(asio::buffer(pair.certificate_pem));
    tls_.use_private_key(asio::buffer(pair.key_pem), asio::ssl::context::pem);
    thread_ = std::thread([this, play = std::move(play), status] { serve(play, status); });
  }
  ~ScriptedExec() {
    boost::system::error_code ignored;
    tcp::socket knock(context_);
    knock.connect(acceptor_.local_endpoint(), ignored);  // for a test whose client never came
    knock.close(ignored);
    thread_.join();
  }

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  const http::request<http::string_body>& request() const { return request_; }

 private:
  void serve(const Play& play, unsigned status) {
    boost::system::error_code error;
    Socket socket(context_, tls_);
    acceptor_.accept(beast::get_lowest_layer(socket), error);
    socket.next_layer().handshake(asio::ssl::stream_base::server, error);
    if (error) return;
    beast::flat_buffer buffer;
    http::read(socket.next_layer(), buffer, request_, error);
    if (error) return;
    if (status != 101) {
      http::response<http::string_body> refusal(static_cast<http::status>(status), 11);
      refusal.body() = R"({"message":"pods \"a\" is forbidden"})";
      refusal.prepare_payload();
      http::write(socket.next_layer(), refusal, error);
      return;
    }
    socket.set_option(websocket::stream_base::decorator([](websocket::response_type& response) {
      response.set(http::field::sec_websocket_protocol, exec_protocol);
    }));
    socket.accept(request_, error);
    if (error) return;
    socket.binary(true);
    play(socket);
  }

  asio::io_context context_;
  asio::ssl::context tls_{asio::ssl::context::tls_server};
  tcp::acceptor acceptor_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  http::request<http::string_body> request_;
  std::thread thread_;
};

void say(Socket& socket, const std::string& bytes) {
  boost::system::error_code ignored;
  socket.write(asio::buffer(bytes), ignored);
}

// Until the client goes.
void wait_for_end(Socket& socket) {
  boost::system::error_code error;
  beast::flat_buffer buffer;
  while (!error) socket.read(buffer, error);
}

class Exec : public ::testing::Test {
 protected:
  void serve(ScriptedExec::Play play, unsigned status = 101) {
    server_ = std::make_unique<ScriptedExec>(authority_, std::move(play), status);
    access_.host = "127.0.0.1";
    access_.port = server_->port();
    access_.server_name = "kubernetes";
    access_.authority.text = authority_.root_pem();
    access_.token.text = "secret";
  }
  Result<ExecResult> run(const ExecOptions& options = {}) {
    return exec_in_pod(access_, {"heddle", "agent-1", "agent"}, {"heddle", "admin", "agent", "/state"},
                       options, [this](std::string_view bytes) {
                         out_ += bytes;
                         if (on_output_) on_output_();
                         return out_.size() < most_;
                       });
  }

  test::Authority authority_;
  Access access_;
  std::unique_ptr<ScriptedExec> server_;
  std::string out_;
  std::function<void()> on_output_;
  std::size_t most_ = 1 << 30;
};

TEST_F(Exec, GivesWhatTheProgramPrintsAndHowItEnded) {
  serve([](Socket& socket) {
    for (const auto& part :
         {frame(1, ""), frame(2, ""), frame(1, "{\"a\":"), frame(2, "careful\n"), frame(1, "1}")})
      say(socket, part);
    say(socket, success);
    wait_for_end(socket);
  });
  const auto begin = std::chrono::steady_clock::now();
  const auto done = run();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(done->end.exit_code, 0);
  EXPECT_EQ(done->standard_error, "careful\n");
  EXPECT_EQ(out_, "{\"a\":1}");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10))
      << "the wait for silence went on";
  server_->request();
  EXPECT_EQ(server_->request()[http::field::authorization], "Bearer secret");
  EXPECT_EQ(server_->request()[http::field::sec_websocket_protocol], "v4.channel.k8s.io");
  EXPECT_THAT(std::string(server_->request().target()),
              HasSubstr("/pods/agent-1/exec?stdout=1&stderr=1&container=agent"));
}

TEST_F(Exec, TellsTheCodeOfAProgramThatFailed) {
  serve([](Socket& socket) {
    say(socket, frame(2, "heddle: nobody answers\n"));
    say(socket,
        frame(3, R"({"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"1"}]}})"));
    wait_for_end(socket);
  });
  const auto done = run();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(done->end.exit_code, 1);
  EXPECT_EQ(done->standard_error, "heddle: nobody answers\n");
}

TEST_F(Exec, SaysWhichRightIsMissing) {
  serve({}, 403);
  const auto done = run();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, make_error_code(Errc::permission_denied));
  EXPECT_THAT(done.error().message(), AllOf(HasSubstr("403"), HasSubstr("pods/exec")));
}

TEST_F(Exec, DoesNotTakeAnEndWithoutAStatusForSuccess) {
  serve([](Socket& socket) { say(socket, frame(1, "half")); });
  EXPECT_FALSE(run());
}

TEST_F(Exec, RefusesAServerOfAnotherAuthority) {
  serve([](Socket& socket) { wait_for_end(socket); });
  access_.authority.text = test::Authority("another").root_pem();
  const auto done = run();
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message(), HasSubstr("its certificate is not accepted"));
}

TEST_F(Exec, GivesUpOnAServerThatFallsSilent) {
  serve(wait_for_end);
  ExecOptions options;
  options.silence = milliseconds(200);
  const auto done = run(options);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, make_error_code(Errc::timeout)) << done.error().message();
}

TEST_F(Exec, EndsWhenItIsToldToAndWhenNobodyWantsMore) {
  serve([](Socket& socket) {
    say(socket, frame(1, "line\n"));
    wait_for_end(socket);
  });
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd read_end(ends[0]);
  const Fd write_end(ends[1]);
  ExecOptions options;
  options.silence.reset();
  options.stop_fd = read_end.get();
  on_output_ = [&] { EXPECT_EQ(::write(write_end.get(), "x", 1), 1); };
  auto done = run(options);
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(done->stopped);

  serve([](Socket& socket) {
    boost::system::error_code error;
    while (!error) socket.write(asio::buffer(frame(1, std::string(1000, 'x'))), error);
  });
  on_output_ = {};
  out_.clear();
  most_ = 100'000;
  done = run();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(done->stopped);
}

TEST_F(Exec, CarriesAnAdminPageAndTheWordsOfAFailure) {
  serve([](Socket& socket) {
    say(socket, frame(1, "{\"pods\":[]}\n"));
    say(socket, success);
    wait_for_end(socket);
  });
  auto link = link_to_pod(std::make_shared<Access>(access_), {"heddle", "agent-1", ""});
  const auto page = link->get(AdminOf::agent, "/state");
  ASSERT_TRUE(page) << page.error().message();
  EXPECT_EQ(*page, "{\"pods\":[]}\n");

  serve([](Socket& socket) {
    say(socket, frame(2, "heddle: nobody answers at /run/heddle/agent/admin.sock\n"));
    say(socket,
        frame(3, R"({"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"1"}]}})"));
    wait_for_end(socket);
  });
  link = link_to_pod(std::make_shared<Access>(access_), {"heddle", "agent-1", ""});
  const auto failed = link->get(AdminOf::agent, "/state");
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().detail, HasSubstr("/state: nobody answers at /run/heddle/agent/admin.sock"));
}

TEST_F(Exec, CutsAStreamIntoLinesHoweverItComes) {
  serve([](Socket& socket) {
    for (const auto& part : {frame(1, "one\ntw"), frame(1, "o"), frame(1, "\nthree\n")}) say(socket, part);
    say(socket, success);
    wait_for_end(socket);
  });
  const auto link = link_to_pod(std::make_shared<Access>(access_), {"heddle", "agent-1", ""});
  std::vector<std::string> lines;
  const auto done = link->stream(AdminOf::proxy, "/tap", -1, [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_THAT(lines, ::testing::ElementsAre("one", "two", "three"));
}

}  // namespace
}  // namespace heddle::tools
