// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace heddle::proxy {

// Whose work is next, among those who have some: deficit round robin by time used. In each round a member may
// use a quantum; who used more owes it. Who had no work for a while and has not used up this round's quantum
// goes before those who always have some, so that a rare event does not wait for everybody's share. Pure, and
// allocates nothing: members are the caller's, and must be removed before they go.
class FairRing {
  struct List;

 public:
  using Time = std::chrono::nanoseconds;
  // Of a member with the usual weight. Small against a request's time at its clients, large against a look
  // at the clock.
  static constexpr Time quantum{50'000};
  static constexpr std::uint32_t usual_weight = 100;
  // What is owed beyond this is forgotten: one long event is no reason to wait for ever.
  static constexpr Time most_owed = 40 * quantum;

  class Member {
   public:
    bool waits() const { return list_ != nullptr; }
    // What it may still use now; negative when it owes.
    Time credit() const { return credit_; }
    std::uint32_t weight = usual_weight;

   private:
    friend class FairRing;
    List* list_ = nullptr;
    Member* next_ = nullptr;
    Member* previous_ = nullptr;
    Time credit_{0};
    std::uint64_t round_ = 0;  // the round that `credit_` is of
  };

  bool empty() const { return fresh_.first == nullptr && steady_.first == nullptr; }
  // More than one has work.
  bool contended() const { return !empty() && (first()->next_ != nullptr || second_list()); }

  // It has work from now on.
  void add(Member& member) {
    if (member.waits()) return;
    if (member.round_ != round_) {
      member.round_ = round_;
      member.credit_ = std::min(member.credit_, Time{0}) + share(member);
    }
    push(member.credit_ > Time{0} ? fresh_ : steady_, member);
  }

  // It has none.
  void remove(Member& member) {
    if (member.waits()) unlink(member);
  }

  // Who is next, with credit; null when nobody has work. Stays so until charge() or remove().
  Member* next() {
    if (fresh_.first != nullptr) return fresh_.first;
    if (steady_.first == nullptr) return nullptr;
    if (steady_.first->next_ == nullptr) {
      // Alone: nobody is owed anything.
      Member& only = *steady_.first;
      if (only.credit_ <= Time{0}) renew(only, Time{0});
      return &only;
    }
    while (true) {
      Member& member = *steady_.first;
      if (member.credit_ <= Time{0}) renew(member, member.credit_);
      if (member.credit_ > Time{0}) return &member;
      unlink(member);
      push(steady_, member);
    }
  }

  // `member`, which next() named, used so much.
  void charge(Member& member, Time used) {
    member.credit_ = std::max(member.credit_ - used, -most_owed);
    if (member.credit_ <= Time{0} && member.waits()) {
      unlink(member);
      push(steady_, member);
    }
  }

 private:
  struct List {
    Member* first = nullptr;
    Member* last = nullptr;
  };

  static Time share(const Member& member) { return quantum * member.weight / usual_weight; }
  const Member* first() const { return fresh_.first != nullptr ? fresh_.first : steady_.first; }
  bool second_list() const { return fresh_.first != nullptr && steady_.first != nullptr; }

  void renew(Member& member, Time before) {
    member.credit_ = before + share(member);
    if (member.round_ == round_) ++round_;  // its second turn: everybody who waits had one
    member.round_ = round_;
  }

  static void push(List& list, Member& member) {
    member.list_ = &list;
    member.next_ = nullptr;
    member.previous_ = list.last;
    (list.last != nullptr ? list.last->next_ : list.first) = &member;
    list.last = &member;
  }

  static void unlink(Member& member) {
    List& list = *member.list_;
    (member.previous_ != nullptr ? member.previous_->next_ : list.first) = member.next_;
    (member.next_ != nullptr ? member.next_->previous_ : list.last) = member.previous_;
    member.list_ = nullptr;
    member.next_ = member.previous_ = nullptr;
  }

  List fresh_;   // have credit of this round
  List steady_;  // used it up, served in turn
  std::uint64_t round_ = 1;
};

}  // namespace heddle::proxy
