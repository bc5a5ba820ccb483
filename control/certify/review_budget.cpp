// SPDX-License-Identifier: Apache-2.0
#include "control/certify/review_budget.h"

#include "base/ip.h"

namespace heddle::control {

std::string peer_key(std::string_view peer) {
  const auto begin = peer.find(':');
  const auto end = peer.rfind(':');
  if (begin == std::string_view::npos || end <= begin) return {};
  std::string_view host = peer.substr(begin + 1, end - begin - 1);
  for (const std::string_view bracket : {"%5B", "["}) {
    if (host.starts_with(bracket)) host.remove_prefix(bracket.size());
  }
  for (const std::string_view bracket : {"%5D", "]"}) {
    if (host.ends_with(bracket)) host.remove_suffix(bracket.size());
  }
  const auto address = IpAddress::parse(host.substr(0, host.find('%')));
  if (!address) return {};
  if (address->is_v4()) return address->to_string();
  const auto network = Cidr::parse(address->to_string() + "/64");
  return network ? network->to_string() : std::string();
}

std::shared_ptr<const ReviewBudget::Share> ReviewBudget::take(const std::string& peer, bool stranger) {
  const std::lock_guard lock(mutex_);
  const auto found = outstanding_.find(peer);
  const std::size_t has = found == outstanding_.end() ? 0 : found->second;
  if (has >= (stranger ? most_of_a_stranger : most_of_an_agent)) return nullptr;
  if (stranger && strangers_ >= most_of_strangers) return nullptr;
  outstanding_[peer] = has + 1;
  if (stranger) ++strangers_;
  return std::make_shared<const Share>(shared_from_this(), peer, stranger);
}

void ReviewBudget::give_back(const std::string& peer, bool stranger) {
  const std::lock_guard lock(mutex_);
  const auto found = outstanding_.find(peer);
  if (--found->second == 0) outstanding_.erase(found);
  if (stranger) --strangers_;
}

}  // namespace heddle::control
