// SPDX-License-Identifier: Apache-2.0
#include "tests/support/api_server_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <stdexcept>

namespace heddle::test {
namespace {

std::string read_to(int fd, const char* end) {
  std::string out;
  char piece[4096];
  while (*end == '\0' || out.find(end) == std::string::npos) {
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got <= 0) break;
    out.append(piece, static_cast<std::size_t>(got));
  }
  return out;
}

Fd connect_to(const std::string& path) {
  Fd out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("the API server takes no orders at " + path);
  }
  return out;
}

}  // namespace

ApiServerProcess::ApiServerProcess(const std::string& release) {
  int input[2];
  int output[2];
  if (::pipe2(input, O_CLOEXEC) != 0 || ::pipe2(output, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const Fd its_input(input[0]);
  Fd its_output(output[1]);
  const Fd said(output[0]);
  input_ = Fd(input[1]);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(its_input.get(), 0);
    ::dup2(its_output.get(), 1);
    if (::chdir(HEDDLE_TEST_SUPPORT) != 0) ::_exit(126);
    // Debian's, which python3-h2 is for.
    ::execl("/usr/bin/python3", "python3", "-m", "api_server.running", release.c_str(), nullptr);
    ::_exit(127);
  }
  its_output.reset();
  std::istringstream line(read_to(said.get(), "\n"));
  std::string ready;
  line >> ready >> kubeconfig_ >> admin_;
  if (ready != "ready") throw std::runtime_error("the API server did not begin");
}

ApiServerProcess::~ApiServerProcess() {
  input_.reset();
  ::waitpid(pid_, nullptr, 0);
}

std::string ApiServerProcess::order(const std::string& operation, const std::string& given) const {
  const Fd connection = connect_to(admin_);
  const std::string request =
      "POST /" + operation +
      " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + std::to_string(given.size()) +
      "\r\n\r\n" + given;
  for (std::size_t sent = 0; sent < request.size();) {
    const auto took = ::send(connection.get(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (took <= 0) throw std::runtime_error("the API server takes no orders");
    sent += static_cast<std::size_t>(took);
  }
  const std::string answer = read_to(connection.get(), "");
  const auto body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 200 ") || body == std::string::npos) {
    throw std::runtime_error(operation + ": " + answer);
  }
  return answer.substr(body + 4);
}

void ApiServerProcess::put(const std::string& resource, const std::string& object) const {
  order("put", R"({"resource":")" + resource + R"(","objects":[)" + object + "]}");
}

void ApiServerProcess::faults(const std::string& rules) const {
  order("faults", R"({"rules":[)" + rules + "]}");
}

}  // namespace heddle::test
