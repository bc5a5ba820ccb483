// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace heddle::control {

// Whom an address stands for where requests are counted: an IPv4 address, or the /64 of an IPv6 one. `peer`
// is gRPC's: "ipv4:10.0.0.1:4321", "ipv6:%5B2001:db8::1%5D:4321"; what is neither counts as one peer.
std::string peer_key(std::string_view peer);

// How many reviews may be outstanding for each peer, and for all that have not shown an agent's token yet:
// strangers must not use up what there is. Thread-safe.
class ReviewBudget : public std::enable_shared_from_this<ReviewBudget> {
 public:
  // Of a peer: before it has shown an agent's token, and after.
  static constexpr std::size_t most_of_a_stranger = 16;
  static constexpr std::size_t most_of_an_agent = 512;
  // Half of what a Caller asks at once (its most_streams): the rest is for agents.
  static constexpr std::size_t most_of_strangers = 32;

  // Held while a review is outstanding.
  class Share {
   public:
    Share(std::shared_ptr<ReviewBudget> owner, std::string peer, bool stranger)
        : owner_(std::move(owner)), peer_(std::move(peer)), stranger_(stranger) {}
    ~Share() { owner_->give_back(peer_, stranger_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

   private:
    const std::shared_ptr<ReviewBudget> owner_;
    const std::string peer_;
    const bool stranger_;
  };

  // Null: it has as many as it may. `peer` is a peer_key().
  std::shared_ptr<const Share> take(const std::string& peer, bool stranger);

 private:
  void give_back(const std::string& peer, bool stranger);

  std::mutex mutex_;
  std::map<std::string, std::size_t> outstanding_;  // by peer; absent: none
  std::size_t strangers_ = 0;
};

}  // namespace heddle::control
