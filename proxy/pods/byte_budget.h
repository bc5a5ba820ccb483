// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "proxy/pods/pod.h"

namespace heddle::proxy {

// A pod's account of buffered bytes together with its limit. Whoever may have to hold bytes for the pod asks
// here before it takes more of them. Values are of a moment: other workers use the same account.
//
// Who reads from a socket of its own reads less as the account fills, down to a trickle: every connection
// goes on, none takes what is left. Who has promised a window (HTTP/2) stops renewing it at half of the
// limit, and past the limit refuses what comes. A default budget counts nothing and allows everything.
class ByteBudget {
 public:
  static constexpr std::size_t least_read = 512;

  ByteBudget() = default;
  explicit ByteBudget(std::shared_ptr<PodLoad> load) : load_(std::move(load)) {}

  std::size_t held() const { return load_ ? load_->buffered_bytes.load(std::memory_order_relaxed) : 0; }
  bool tight() const { return held() >= limit() / 2; }
  bool nearly_full() const { return held() >= limit() - limit() / 8; }
  bool full() const { return held() >= limit(); }
  // How much to read where `wanted` bytes fit: a share of what is left below seven eighths of the limit. The
  // last eighth is for what a trickle of many connections and promised windows bring.
  std::size_t read_size(std::size_t wanted) const {
    const std::size_t now = held();
    if (now == 0) return wanted;
    const std::size_t soft = limit() - limit() / 8;
    const std::size_t share = now < soft ? (soft - now) / 32 : 0;
    return std::min(wanted, std::max(share, least_read));
  }

  // The same for content of which `unconsumed` bytes have not left our hands; 0: read on when some have.
  std::size_t content_room(std::size_t window, std::size_t unconsumed) const {
    if (unconsumed >= window || (unconsumed != 0 && nearly_full())) return 0;
    return read_size(window - unconsumed);
  }
  std::size_t limit() const {
    return load_ ? load_->limits.buffered_bytes.load(std::memory_order_relaxed) : ~std::size_t{0};
  }
  // Something was refused because the account is full.
  void count_full() const {
    if (load_) load_->count(Limit::buffered_bytes);
  }

  // A peer of the pod was turned away.
  void count(Refusal why) const {
    if (load_) load_->refusals.count(why);
  }

  // For HeldBytes.
  PodLoad* load() const { return load_.get(); }

 private:
  std::shared_ptr<PodLoad> load_;
};

// What one holder has in the account. Amounts below 1 KiB are not told, so that what comes and goes within a
// turn costs no atomic operation; nothing is always told exactly. One thread.
class HeldBytes {
 public:
  explicit HeldBytes(ByteBudget budget) : budget_(std::move(budget)) {}
  ~HeldBytes() { set(0); }
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;

  void add(std::size_t bytes) { set(bytes_ + bytes); }
  void remove(std::size_t bytes) { set(bytes_ - std::min(bytes, bytes_)); }
  void set(std::size_t bytes) {
    bytes_ = bytes;
    const std::size_t apart = bytes > told_ ? bytes - told_ : told_ - bytes;
    if (apart >= untold || (bytes == 0 && told_ != 0)) tell();
  }
  std::size_t bytes() const { return bytes_; }
  const ByteBudget& budget() const { return budget_; }

 private:
  static constexpr std::size_t untold = 1024;

  void tell() {
    if (PodLoad* load = budget_.load()) {
      // Unsigned arithmetic wraps: adding the difference also subtracts.
      load->buffered_bytes.fetch_add(bytes_ - told_, std::memory_order_relaxed);
    }
    told_ = bytes_;
  }

  ByteBudget budget_;
  std::size_t bytes_ = 0;
  std::size_t told_ = 0;
};

}  // namespace heddle::proxy
