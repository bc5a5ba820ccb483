// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/fd.h"
#include "tests/support/eventually.h"

namespace heddle::test {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Free now; the kernel hands ephemeral ports out in turn, so that nobody else gets it soon.
std::uint16_t free_port() {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

pid_t spawn(std::vector<std::string> arguments, const std::string& output) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(fd, 1);
  ::dup2(fd, 2);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

ControlProcess::ControlProcess(std::vector<std::string> more_flags)
    : more_flags_(std::move(more_flags)),
      identity_port_(free_port()),
      destination_port_(free_port()),
      admin_port_(free_port()) {
  std::filesystem::create_directory(folder_.file("objects"));
  std::filesystem::create_directory(folder_.file("tokens"));
}

ControlProcess::~ControlProcess() {
  kill();
  if (::testing::Test::HasFailure()) std::cerr << "heddle-control said:\n" << log();
}

void ControlProcess::launch() {
  const auto port = [](std::uint16_t number) { return "127.0.0.1:" + std::to_string(number); };
  std::vector<std::string> arguments{
      HEDDLE_CONTROL, "--state-dir=" + folder_.file("state"), "--identity-address=" + port(identity_port_),
      "--destination-address=" + port(destination_port_), "--admin-address=" + port(admin_port_)};
  arguments.insert(arguments.end(), more_flags_.begin(), more_flags_.end());
  const auto is_source = [](const std::string& flag) { return flag.starts_with("--source="); };
  if (std::ranges::none_of(more_flags_, is_source)) {
    arguments.push_back("--source=folder:" + folder_.file("objects"));
    arguments.push_back("--node-tokens=" + folder_.file("tokens"));
  }
  pid_ = spawn(arguments, folder_.file("log"));
}

bool ControlProcess::ready() const {
  int status = 0;
  admin("/ready", &status);
  return status == 200;
}

void ControlProcess::start() {
  launch();
  ASSERT_TRUE(heddle::test::eventually([this] { return ready(); })) << "not ready after 30 s";
}

void ControlProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int ControlProcess::terminate() {
  ::kill(pid_, SIGTERM);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string ControlProcess::admin(const std::string& path, int* status) const {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(admin_port_);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
  std::string answer;
  char chunk[4096];
  for (ssize_t got = 0; (got = ::recv(fd.get(), chunk, sizeof chunk, 0)) > 0;) {
    answer.append(chunk, static_cast<std::size_t>(got));
  }
  if (status != nullptr && answer.size() > 12) *status = std::atoi(answer.c_str() + 9);
  const auto body = answer.find("\r\n\r\n");
  return body == std::string::npos ? std::string() : answer.substr(body + 4);
}

double ControlProcess::metric(const std::string& sample) const {
  const std::string page = "\n" + admin("/metrics");
  const auto at = page.find("\n" + sample + " ");
  return at == std::string::npos ? -1 : std::atof(page.c_str() + at + sample.size() + 2);
}

RunResult run_control(const std::vector<std::string>& arguments) {
  const ScratchFolder folder;
  std::vector<std::string> all{HEDDLE_CONTROL};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const pid_t pid = spawn(all, folder.file("output"));
  int status = 0;
  ::waitpid(pid, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), folder.read("output")};
}

}  // namespace heddle::test
