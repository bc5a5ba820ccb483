// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/node.pb.h"
#include "base/fd.h"
#include "base/io/unix_message.h"
#include "tests/support/netns_lab.h"

// A real heddle-agent process with its real datapath, and peers written here: a plugin's calls and a scripted
// proxy.
namespace heddle::agent {

// A pod made of a bare netns, with an address of its own. `path` leads there as long as the pod lives.
struct TestPod {
  Fd netns;
  std::string id;  // container id
  std::string ip;
  std::string path() const;
};

node::CniReply call_agent(const std::string& socket, const node::CniRequest& request, int netns_fd = -1);

// A proxy's end of the conversation, on a thread of its own: acknowledges what it is told to, keeps what it
// gets.
class FakeProxy {
 public:
  struct HeldPod {
    node::Pod pod;
    Fd outbound;
    Fd inbound;
  };
  struct Script {
    bool acknowledge = true;
    std::string ack_error;
    bool say_hello = true;
    bool answer_snapshot = true;
    std::uint64_t started_unix_ms = 0;
    bool draining = false;
    std::map<std::uint32_t, HeldPod> held;  // given back to the agent
  };
  FakeProxy(const std::string& socket, Script script);
  explicit FakeProxy(const std::string& socket) : FakeProxy(socket, Script()) {}
  ~FakeProxy();

  bool has_pod(const std::string& name, std::chrono::milliseconds limit = test::patience);
  bool lost_pod(const std::string& name, std::chrono::milliseconds limit = test::patience);
  bool serves(std::chrono::milliseconds limit = test::patience);  // SnapshotEnd came
  bool told_to_drain(std::chrono::milliseconds limit = test::patience);
  bool closed(std::chrono::milliseconds limit = test::patience);
  std::size_t pods();
  std::optional<node::Pod> pod(const std::string& name);
  std::size_t sockets_of(std::uint32_t pod_id, bool ipv6);
  // Asks for one unless one is there.
  Fd take_socket(std::uint32_t pod_id, bool ipv6);
  std::vector<node::ToProxy> messages();  // without descriptors, oldest first
  void send(const node::FromProxy& message, const std::vector<int>& fds = {});
  void send_raw(const std::string& bytes, const std::vector<int>& fds = {});
  // Ends the conversation, keeping the listeners.
  std::map<std::uint32_t, HeldPod> leave();
  int listener(const std::string& name, bool inbound);
  void acknowledge_from_now_on();

 private:
  void run();
  void receive(UnixMessage message);
  bool wait(const std::function<bool()>& condition, std::chrono::milliseconds limit);

  Fd socket_;
  Script script_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, HeldPod> pods_;
  std::map<std::pair<std::uint32_t, bool>, std::deque<Fd>> sockets_;
  std::vector<node::ToProxy> messages_;
  bool serves_ = false;
  bool drain_ = false;
  bool closed_ = false;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class AgentTest : public ::testing::Test {
 protected:
  AgentTest();
  ~AgentTest() override;

  // Starts the process and waits until it serves. `extra` flags come last.
  void start(const std::vector<std::string>& extra = {});
  void stop(int signal);  // waits for its end
  bool alive() const { return pid_ > 0; }
  int wait_for_exit();
  std::string log() const;

  TestPod make_pod();
  // With a cable to the neighbour (10.88.0.1, fd88::1).
  TestPod make_wired_pod();
  node::CniRequest request(const TestPod& pod, node::CniRequest::Command command) const;
  node::CniReply add(const TestPod& pod);
  node::CniReply del(const TestPod& pod, bool with_netns);
  node::CniReply check(const TestPod& pod);

  std::string cni_socket() const { return run_ + "/agent/cni.sock"; }
  std::string proxy_socket() const { return run_ + "/agent/proxy.sock"; }
  // What the agent answers at its admin socket; `more`: arguments of curl(1).
  std::string page(const std::string& target, const std::string& more = "") const;
  std::string state() const;
  // Open descriptors of the agent; those of network namespaces.
  std::size_t descriptors() const;
  std::size_t netns_descriptors() const;

  test::TestBpffs bpffs_;
  test::TestCgroup cgroup_;
  std::string run_;
  std::string objects_;
  Fd neighbour_;
  int next_pod_ = 0;
  unsigned long descriptor_limit_ = 0;  // of the agent; 0: as it is
  std::function<void()> place_;         // run in the agent's process before the agent
  pid_t pid_ = -1;
};

}  // namespace heddle::agent
