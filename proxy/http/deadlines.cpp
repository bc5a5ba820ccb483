// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/deadlines.h"

namespace heddle::proxy::http {

void Deadline::leave() {
  if (list_ != nullptr) list_->unlink(*this);
}

DeadlineList::DeadlineList(Loop& loop, std::chrono::milliseconds length)
    : loop_(loop), length_(length), timer_(loop, [this] { run(); }) {}

DeadlineList::~DeadlineList() {
  while (first_ != nullptr) unlink(*first_);
}

void DeadlineList::start(Deadline& item) {
  item.leave();
  if (!limits()) return;
  item.list_ = this;
  item.at_ = loop_.now() + length_;
  item.previous_ = last_;
  item.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &item;
  last_ = &item;
  if (!timer_.armed()) timer_.arm(length_);
}

void DeadlineList::unlink(Deadline& item) {
  (item.previous_ != nullptr ? item.previous_->next_ : first_) = item.next_;
  (item.next_ != nullptr ? item.next_->previous_ : last_) = item.previous_;
  item.list_ = nullptr;
  item.previous_ = item.next_ = nullptr;
}

void DeadlineList::run() {
  const auto now = loop_.now();
  while (first_ != nullptr && first_->at_ <= now) {
    Deadline& due = *first_;
    unlink(due);
    due.on_deadline();
  }
  // The timer was left alone while waits ended: only now it is known when the next one is due.
  if (first_ == nullptr) return;
  timer_.arm(std::chrono::ceil<std::chrono::milliseconds>(first_->at_ - now));
}

}  // namespace heddle::proxy::http
