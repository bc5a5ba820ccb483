// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/accepting.h"

#include <algorithm>
#include <map>

namespace heddle::proxy::tls {

void Accepting::Member::leave() {
  if (in_ == nullptr) return;
  const auto pod = in_->pods_.find(pod_);
  pod->second.erase(at_);
  if (pod->second.empty()) in_->pods_.erase(pod);
  in_ = nullptr;
}

Accepting::~Accepting() {
  for (auto& [pod, members] : pods_) {
    for (Member* member : members) member->in_ = nullptr;
  }
}

// Of the address that has most, the newcomer counted in: the one that stalls for longest, or else the latest,
// as throwing away what is nearly done would end in nothing being done. Null: that is the newcomer.
Accepting::Member* Accepting::find_victim(const Members& members, const IpAddress& newcomer,
                                          Clock::time_point now) {
  std::map<IpAddress, std::size_t> counts{{newcomer, 1}};
  for (const Member* member : members) ++counts[member->from_];
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const IpAddress& from = counts[newcomer] == most->second ? newcomer : most->first;
  const auto is_theirs = [&](const Member* member) { return member->from_ == from; };
  const auto oldest = std::find_if(members.begin(), members.end(), is_theirs);
  if (oldest != members.end() && now - (*oldest)->since_ >= stalled) return *oldest;
  if (from == newcomer) return nullptr;
  return *std::find_if(members.rbegin(), members.rend(), is_theirs);
}

bool Accepting::admit(Member& member, std::uint32_t pod, const IpAddress& from, Clock::time_point now) {
  if (const auto found = pods_.find(pod); found != pods_.end() && found->second.size() >= most_) {
    Member* victim = find_victim(found->second, from, now);
    if (victim == nullptr) return false;
    victim->leave();
    victim->give_way();
  }
  Members& members = pods_[pod];
  member.in_ = this;
  member.pod_ = pod;
  member.from_ = from;
  member.since_ = now;
  member.at_ = members.insert(members.end(), &member);
  return true;
}

}  // namespace heddle::proxy::tls
