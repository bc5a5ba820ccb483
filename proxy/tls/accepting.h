// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>

#include "base/ip.h"

namespace heddle::proxy::tls {

// The handshakes under way towards each pod, and who has to go when there are too many: one of the address
// that has most of them, so that clients which stall theirs keep out nobody but themselves. One thread.
class Accepting {
 public:
  using Clock = std::chrono::steady_clock;
  // Longer than an honest handshake takes: who waits for longer is stalled.
  static constexpr std::chrono::seconds stalled{1};

  // A handshake that may have to give way.
  class Member {
   public:
    // Room is needed. No longer counted when it is called; comes from within another's admit().
    virtual void give_way() = 0;

   protected:
    Member() = default;
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member() { leave(); }
    void leave();

   private:
    friend class Accepting;
    Accepting* in_ = nullptr;
    std::uint32_t pod_ = 0;
    IpAddress from_;
    Clock::time_point since_{};
    std::list<Member*>::iterator at_;
  };

  explicit Accepting(std::size_t most_per_pod) : most_(most_per_pod) {}
  ~Accepting();
  Accepting(const Accepting&) = delete;
  Accepting& operator=(const Accepting&) = delete;

  // Counts `member` for the pod, if need be in the place of another. False: it is the one that has to go.
  bool admit(Member& member, std::uint32_t pod, const IpAddress& from, Clock::time_point now);
  bool empty() const { return pods_.empty(); }

 private:
  using Members = std::list<Member*>;  // in the order they came
  static Member* find_victim(const Members& members, const IpAddress& newcomer, Clock::time_point now);

  const std::size_t most_;
  std::unordered_map<std::uint32_t, Members> pods_;
};

}  // namespace heddle::proxy::tls
