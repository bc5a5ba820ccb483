// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "proxy/http/client_waiter.h"
#include "proxy/http/engine.h"
#include "proxy/http/h1_client.h"
#include "proxy/http/h2_client.h"

namespace heddle::proxy {

// The connections to one place, and the requests that wait for one. How a connection is made is the
// subclass's matter.
class HttpBucket : public http::H1ClientOwner, public http::H2ClientOwner {
 public:
  using Clock = Loop::Clock;
  struct Limits {
    bool http2 = false;
    std::chrono::milliseconds idle_h1{3000};  // as Linkerd keeps them
    std::chrono::milliseconds idle_h2{300'000};
    std::size_t max_idle = 1000;
    // HTTP/1 connections to one place, being opened ones included. Further requests wait for one: a mesh peer
    // may open thousands of streams, and each would take a descriptor of the node.
    std::size_t max_h1 = 2000;
    http::H2Settings h2;
  };
  // `budget`: of the pod whose connections these are.
  HttpBucket(http::Engine& engine, Limits limits, ByteBudget budget)
      : engine_(engine), limits_(limits), budget_(std::move(budget)) {}
  virtual ~HttpBucket();

  // As HttpPool::acquire.
  http::Client* acquire(http::ClientWaiter& waiter);
  // Closes what was idle too long. True when nothing is left and it may be destroyed.
  bool sweep(Clock::time_point now);
  void drain();
  // Tells whoever waits; the destructor does the rest.
  void fail_waiters(const Error& error);
  std::size_t idle() const { return idle_.size(); }
  // Are there HTTP/2 streams? A tunnel's outlives its Stream until what that took is sent.
  bool has_streams() const;

 protected:
  // Begins one connection; h1_connected(), h2_connected() or connect_failed() follow, never from inside.
  virtual void connect() = 0;
  void h1_connected(std::unique_ptr<Stream> stream);
  // `mesh`: the peer is a mesh proxy, see H2Client.
  void h2_connected(std::unique_ptr<Stream> stream, bool mesh);
  // Without a connection of ours having come of it (the subclass used it otherwise).
  void connect_ended();
  void connect_failed(const Error& error);
  // What a subclass still waits for.
  virtual bool nothing_else_waits() const { return true; }
  void client_available(http::H2Client& client) override;
  const std::vector<std::unique_ptr<http::H2Client>>& h2_clients() const { return h2_; }
  bool requests_wait() const { return !waiters_.empty(); }
  std::size_t connecting() const { return connecting_; }
  void begin_connecting() { ++connecting_; }

  http::Engine& engine_;
  Limits limits_;
  const ByteBudget budget_;

 private:
  void client_idle(http::H1Client& client) override;
  void client_closed(http::H1Client& client) override;
  void client_closed(http::H2Client& client) override;
  void connect_more();

  struct Idle {
    http::H1Client* client;
    Clock::time_point since;
  };
  std::vector<std::unique_ptr<http::H1Client>> h1_;
  std::vector<Idle> idle_;  // the last used at the end
  std::vector<std::unique_ptr<http::H2Client>> h2_;
  http::WaitList waiters_;
  std::size_t connecting_ = 0;
  bool draining_ = false;
};

// Takes the buckets of a pod out of a pool's map and ends them. Out of it first: who is told of the end may
// ask for a connection again.
template <class Buckets>
void forget_buckets(Buckets& buckets, std::uint32_t pod_id) {
  std::vector<typename Buckets::mapped_type> ended;
  for (auto entry = buckets.begin(); entry != buckets.end();) {
    const auto next = std::next(entry);
    if (entry->first.pod == pod_id) {
      ended.push_back(std::move(entry->second));
      buckets.erase(entry);
    }
    entry = next;
  }
  for (auto& bucket : ended) bucket->fail_waiters(make_error(Errc::unavailable, "the pod left this node"));
}

}  // namespace heddle::proxy
