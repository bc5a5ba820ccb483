// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "base/fd.h"
#include "tests/integration/http/proxy_lab.h"

namespace heddle::proxy {
namespace {

// A program of tests/integration/http/matrix: servers and clients, with a conversation about their addresses.
class Matrix {
 public:
  explicit Matrix(const std::string& script) {
    std::array<int, 2> in{}, out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0)
      throw std::runtime_error("no pipe");
    const std::string command = "exec /usr/bin/python3 " HEDDLE_MATRIX "/" + script;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(out[1], STDERR_FILENO);
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = Fd(in[1]);
    from_ = ::fdopen(out[0], "r");
  }
  ~Matrix() {
    ::fclose(from_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  bool read_line(std::string& line) {
    char* text = nullptr;
    std::size_t room = 0;
    const ssize_t size = ::getline(&text, &room, from_);
    if (size > 0) line.assign(text, static_cast<std::size_t>(size) - (text[size - 1] == '\n' ? 1 : 0));
    ::free(text);
    return size > 0;
  }
  void say(const std::string& line) {
    ASSERT_EQ(::write(to_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
  int exit_status() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  Fd to_;
  FILE* from_ = nullptr;
};

// `HEDDLE_MATRIX_MIXTURES`: how many random exchanges besides the systematic ones.
std::string wanted_mixtures() {
  const char* wanted = std::getenv("HEDDLE_MATRIX_MIXTURES");
  return wanted != nullptr ? wanted : "";
}

// Makes ways to each of the program's servers: across nodes and on one. Nothing but "ready" is left unread.
void make_ways(Matrix& matrix, ProxyLab& across, ProxyLab& within) {
  within.join_locally();
  std::string line;
  while (matrix.read_line(line) && line != "ready") {
    std::istringstream words(line);
    std::string name, version;
    std::uint16_t port = 0;
    ASSERT_TRUE(words >> name >> version >> port) << line;
    const SocketAddress server{IpAddress::v4(0x7f000001), port};
    const Protocol protocol = version == "http2" ? Protocol::http2 : Protocol::http1;
    const auto far = across.listen_outbound(across.meshed({across.listen_mesh(server)}), protocol);
    const auto near = within.listen_outbound(within.meshed({server}), protocol);
    matrix.say("far " + name + " " + std::to_string(far.port) + "\n");
    matrix.say("near " + name + " " + std::to_string(near.port) + "\n");
  }
  ASSERT_EQ(line, "ready");
}

// `heard`: is told each line that the program says.
void expect_no_problems(
    Matrix& matrix, const std::string& identity,
    const std::function<void(const std::string&)>& heard = [](const std::string&) {}) {
  matrix.say("go " + identity + "\n");
  std::string line;
  while (matrix.read_line(line)) {
    std::cout << line << "\n";
    heard(line);
  }
  EXPECT_EQ(matrix.exit_status(), 0);
}

TEST(ExchangeMatrix, LooksThroughTheProxiesAsItDoesWithoutThemBarWhatIsDocumented) {
  Matrix matrix("run.py " + wanted_mixtures());
  ProxyLab across, within;
  ASSERT_NO_FATAL_FAILURE(make_ways(matrix, across, within));
  const SocketAddress nobody{IpAddress::v4(0x7f000001), free_port()};
  const auto refuses = [&](const char* grpc_status, const DestinationRef& destination) {
    const auto entry = across.listen_outbound(destination, Protocol::http2);
    matrix.say(std::string(grpc_status) + " grpc " + std::to_string(entry.port) + "\n");
  };
  refuses("14", across.plain(nobody));
  refuses("7", across.meshed({across.listen_mesh(nobody, TlsState::anonymous)}));
  auto absent = std::make_shared<Destination>(1);
  absent->state = Destination::State::not_found;
  refuses("5", absent);
  expect_no_problems(matrix, across.client_pod->identity);
}

// GOAWAY, RST_STREAM, priorities, CONNECT, WebSocket.
TEST(FramesAndSwitches, DoThroughTheProxiesWhatTheStandardsSay) {
  Matrix matrix("frames.py");
  ProxyLab across, within;
  ASSERT_NO_FATAL_FAILURE(make_ways(matrix, across, within));
  expect_no_problems(matrix, across.client_pod->identity, [&](const std::string& line) {
    if (!line.starts_with("drain ")) return;
    ProxyLab& lab = line == "drain far" ? across : within;
    lab.run([&] { lab.client().connections->drain_all(); });
    matrix.say("drained\n");
  });
}

}  // namespace
}  // namespace heddle::proxy
