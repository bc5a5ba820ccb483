// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/agent/fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"

namespace heddle::agent {

namespace {
std::string tail(const std::string& text) {
  return text.size() > 12000 ? text.substr(text.size() - 12000) : text;
}
}  // namespace

std::string TestPod::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(netns.get());
}

node::CniReply call_agent(const std::string& socket, const node::CniRequest& request, int netns_fd) {
  node::CniReply reply;
  reply.set_code(9999);
  auto fd = connect_unix(socket, false);
  if (!fd) {
    reply.set_msg(fd.error().message());
    return reply;
  }
  std::vector<int> fds;
  if (netns_fd >= 0) fds.push_back(netns_fd);
  if (auto sent = send_unix(fd->get(), request.SerializeAsString(), fds); !sent) {
    reply.set_msg(sent.error().message());
    return reply;
  }
  auto message = receive_unix(fd->get());
  if (!message) {
    reply.set_msg(message.error().message());
    return reply;
  }
  reply.Clear();
  if (!reply.ParseFromString(message->bytes)) reply.set_code(9998);
  return reply;
}

FakeProxy::FakeProxy(const std::string& socket, Script script) : script_(std::move(script)) {
  auto fd = connect_unix(socket, false);
  if (!fd) throw std::runtime_error("fake proxy: " + fd.error().message());
  socket_ = std::move(*fd);
  if (script_.say_hello) {
    node::FromProxy hello;
    hello.mutable_hello()->set_version("fake");
    hello.mutable_hello()->set_started_unix_ms(script_.started_unix_ms);
    hello.mutable_hello()->set_draining(script_.draining);
    hello.mutable_hello()->set_pid(static_cast<std::uint32_t>(::getpid()));
    send(hello);
    for (auto& [id, held] : script_.held) {
      node::FromProxy message;
      *message.mutable_held()->mutable_pod() = held.pod;
      send(message, {held.outbound.get(), held.inbound.get()});
    }
    node::FromProxy end;
    end.mutable_held_end()->set_pods(static_cast<std::uint32_t>(script_.held.size()));
    send(end);
  }
  pods_ = std::move(script_.held);
  thread_ = std::thread([this] { run(); });
}

FakeProxy::~FakeProxy() {
  stop_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
}

void FakeProxy::run() {
  while (!stop_) {
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 50) <= 0) continue;
    auto message = receive_unix(socket_.get());
    if (!message) break;
    receive(std::move(*message));
  }
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void FakeProxy::receive(UnixMessage message) {
  node::ToProxy decoded;
  if (!decoded.ParseFromString(message.bytes)) return;
  std::unique_lock lock(mutex_);
  messages_.push_back(decoded);
  std::vector<node::FromProxy> answers;
  if (decoded.has_pod_upsert() && message.fds.size() == 2) {
    const auto& pod = decoded.pod_upsert().pod();
    pods_[pod.id()] = {pod, std::move(message.fds[0]), std::move(message.fds[1])};
    if (script_.acknowledge) {
      node::FromProxy ack;
      ack.mutable_pod_ack()->set_id(pod.id());
      ack.mutable_pod_ack()->set_generation(pod.generation());
      ack.mutable_pod_ack()->set_error(script_.ack_error);
      answers.push_back(ack);
    }
  } else if (decoded.has_pod_remove()) {
    pods_.erase(decoded.pod_remove().id());
  } else if (decoded.has_snapshot_end()) {
    serves_ = true;
    if (script_.answer_snapshot) {
      node::FromProxy ack;
      ack.mutable_snapshot_ack()->set_pods(static_cast<std::uint32_t>(pods_.size()));
      answers.push_back(ack);
    }
  } else if (decoded.has_sockets()) {
    auto& queue = sockets_[{decoded.sockets().pod_id(), decoded.sockets().ipv6()}];
    for (auto& fd : message.fds) queue.push_back(std::move(fd));
  } else if (decoded.has_drain()) {
    drain_ = true;
  }
  changed_.notify_all();
  lock.unlock();
  for (const auto& answer : answers) send(answer);
}

void FakeProxy::send(const node::FromProxy& message, const std::vector<int>& fds) {
  send_raw(message.SerializeAsString(), fds);
}

void FakeProxy::send_raw(const std::string& bytes, const std::vector<int>& fds) {
  (void)static_cast<bool>(send_unix(socket_.get(), bytes, fds));
}

bool FakeProxy::wait(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, condition);
}

bool FakeProxy::has_pod(const std::string& name, std::chrono::milliseconds limit) {
  return wait(
      [&] {
        return std::any_of(pods_.begin(), pods_.end(),
                           [&](const auto& e) { return e.second.pod.name() == name; });
      },
      limit);
}

bool FakeProxy::lost_pod(const std::string& name, std::chrono::milliseconds limit) {
  return wait(
      [&] {
        return std::none_of(pods_.begin(), pods_.end(),
                            [&](const auto& e) { return e.second.pod.name() == name; });
      },
      limit);
}

bool FakeProxy::serves(std::chrono::milliseconds limit) {
  return wait([&] { return serves_; }, limit);
}
bool FakeProxy::told_to_drain(std::chrono::milliseconds limit) {
  return wait([&] { return drain_; }, limit);
}
bool FakeProxy::closed(std::chrono::milliseconds limit) {
  return wait([&] { return closed_; }, limit);
}

std::size_t FakeProxy::pods() {
  const std::lock_guard lock(mutex_);
  return pods_.size();
}

std::optional<node::Pod> FakeProxy::pod(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, held] : pods_) {
    if (held.pod.name() == name) return held.pod;
  }
  return std::nullopt;
}

std::size_t FakeProxy::sockets_of(std::uint32_t pod_id, bool ipv6) {
  const std::lock_guard lock(mutex_);
  return sockets_[{pod_id, ipv6}].size();
}

Fd FakeProxy::take_socket(std::uint32_t pod_id, bool ipv6) {
  if (sockets_of(pod_id, ipv6) == 0) {
    node::FromProxy request;
    request.mutable_socket_request()->set_pod_id(pod_id);
    request.mutable_socket_request()->set_ipv6(ipv6);
    request.mutable_socket_request()->set_count(1);
    request.mutable_socket_request()->set_request(1);
    send(request);
  }
  if (!wait([&] { return !sockets_[{pod_id, ipv6}].empty(); }, test::patience)) return {};
  const std::lock_guard lock(mutex_);
  auto& queue = sockets_[{pod_id, ipv6}];
  Fd out = std::move(queue.front());
  queue.pop_front();
  return out;
}

std::vector<node::ToProxy> FakeProxy::messages() {
  const std::lock_guard lock(mutex_);
  return messages_;
}

int FakeProxy::listener(const std::string& name, bool inbound) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, held] : pods_) {
    if (held.pod.name() == name) return inbound ? held.inbound.get() : held.outbound.get();
  }
  return -1;
}

void FakeProxy::acknowledge_from_now_on() {
  const std::lock_guard lock(mutex_);
  script_.acknowledge = true;
  script_.ack_error.clear();
}

std::map<std::uint32_t, FakeProxy::HeldPod> FakeProxy::leave() {
  stop_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  thread_.join();
  return std::move(pods_);
}

AgentTest::AgentTest() {
  char pattern[] = "/tmp/heddle-agent-test-XXXXXX";
  if (::mkdtemp(pattern) == nullptr) throw std::runtime_error("mkdtemp");
  ::chmod(pattern, 0755);
  run_ = pattern;
  objects_ = run_ + "/objects";
  ::mkdir(objects_.c_str(), 0755);
}

AgentTest::~AgentTest() {
  if (HasFailure()) std::fprintf(stderr, "---- agent's log\n%s----\n", tail(log()).c_str());
  if (pid_ > 0) stop(SIGKILL);
  // Pins of pods' netns are mounts of the host's mount namespace.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(run_ + "/agent/netns", ignored)) {
    ::umount2(entry.path().c_str(), MNT_DETACH);
  }
  std::filesystem::remove_all(run_, ignored);
}

std::string AgentTest::log() const {
  auto text = read_file(run_ + "/log");
  return text ? *text : "";
}

std::string AgentTest::page(const std::string& target, const std::string& more) const {
  const Fd here = *open_netns("/proc/thread-self/ns/net");
  return test::run_in(here.get(), "curl -s -m 5 " + more + " --unix-socket " + run_ +
                                      "/agent/admin.sock 'http://agent" + target + "'")
      .output;
}

std::string AgentTest::state() const {
  auto text = read_file(run_ + "/agent/pods.json");
  return text ? *text : "";
}

std::size_t AgentTest::descriptors() const {
  std::error_code ignored;
  const std::filesystem::directory_iterator folder("/proc/" + std::to_string(pid_) + "/fd", ignored);
  return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
}

std::size_t AgentTest::netns_descriptors() const {
  std::error_code ignored;
  std::size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd", ignored)) {
    count += std::filesystem::read_symlink(entry.path(), ignored).string().starts_with("net:[") ? 1 : 0;
  }
  return count;
}

void AgentTest::start(const std::vector<std::string>& extra) {
  std::vector<std::string> arguments{HEDDLE_AGENT_PROGRAM,
                                     "--run-dir",
                                     run_,
                                     "--pin-folder",
                                     bpffs_.path() + "/heddle",
                                     "--pods-cgroup",
                                     cgroup_.path(),
                                     "--node-name",
                                     "node-1",
                                     "--default-inject",
                                     "enabled",
                                     "--http-address",
                                     "",
                                     "--release-settle",
                                     "0",
                                     "--log-level",
                                     "debug"};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  std::vector<char*> raw;
  for (auto& argument : arguments) raw.push_back(argument.data());
  raw.push_back(nullptr);
  const Fd output(::open((run_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  ::unlink(cni_socket().c_str());
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(output.get(), 1);
    ::dup2(output.get(), 2);
    if (descriptor_limit_ > 0) {
      const rlimit limit{descriptor_limit_, descriptor_limit_};
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (place_) place_();
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  const bool up = test::eventually(
      [this] {
        if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
          pid_ = -1;
          return true;
        }
        return static_cast<bool>(connect_unix(cni_socket(), false));
      },
      std::chrono::milliseconds(20'000));
  if (!up) ADD_FAILURE() << "the agent does not serve\n" << log();
}

int AgentTest::wait_for_exit() {
  if (pid_ <= 0) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void AgentTest::stop(int signal) {
  ::kill(pid_, signal);
  wait_for_exit();
}

TestPod AgentTest::make_pod() {
  TestPod pod;
  pod.netns = test::make_netns();
  const int n = ++next_pod_;
  pod.id = "c" + std::to_string(n);
  pod.ip = "10.99." + std::to_string(n / 250) + "." + std::to_string(n % 250 + 2);
  return pod;
}

TestPod AgentTest::make_wired_pod() {
  if (!neighbour_) neighbour_ = test::make_netns();
  TestPod pod;
  pod.netns = test::make_netns();
  const std::string n = std::to_string(++next_pod_ + 1);
  pod.id = "c" + n;
  pod.ip = "10.88." + n + ".2";
  test::join_with_veth({pod.netns.get(), "eth0", {pod.ip + "/24", "fd88:" + n + "::2/64"}},
                       {neighbour_.get(), "to" + n, {"10.88." + n + ".1/24", "fd88:" + n + "::1/64"}});
  return pod;
}

node::CniRequest AgentTest::request(const TestPod& pod, node::CniRequest::Command command) const {
  node::CniRequest out;
  out.set_command(command);
  out.set_container_id(pod.id);
  out.set_netns(pod.path());
  out.set_ifname("eth0");
  out.set_network("test");
  out.add_ips(pod.ip);
  return out;
}

node::CniReply AgentTest::add(const TestPod& pod) {
  return call_agent(cni_socket(), request(pod, node::CniRequest::ADD), pod.netns.get());
}

node::CniReply AgentTest::del(const TestPod& pod, bool with_netns) {
  auto asked = request(pod, node::CniRequest::DEL);
  if (!with_netns) asked.clear_netns();
  return call_agent(cni_socket(), asked, with_netns ? pod.netns.get() : -1);
}

node::CniReply AgentTest::check(const TestPod& pod) {
  return call_agent(cni_socket(), request(pod, node::CniRequest::CHECK), pod.netns.get());
}

}  // namespace heddle::agent
