// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "proxy/http/exchange.h"

namespace heddle::proxy::http {

class WaitList;

// Waits in a pool for a connection. Leaves the list by being destroyed or by leave().
class ClientWaiter {
 public:
  // Exactly one of the two, once, never from inside the call that began the wait. The client can take a
  // request now: start() on it before returning.
  virtual void client_ready(Client& client) = 0;
  virtual void client_failed(const Error& error) = 0;

  bool waiting() const { return list_ != nullptr; }
  void leave();

 protected:
  ClientWaiter() = default;
  ClientWaiter(const ClientWaiter&) = delete;
  ClientWaiter& operator=(const ClientWaiter&) = delete;
  ~ClientWaiter() { leave(); }

 private:
  friend class WaitList;
  WaitList* list_ = nullptr;
  ClientWaiter* previous_ = nullptr;
  ClientWaiter* next_ = nullptr;
};

// First in, first out, allocation-free.
class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;
  ~WaitList() {
    while (first_ != nullptr) first_->leave();
  }
  bool empty() const { return first_ == nullptr; }
  std::size_t size() const { return size_; }
  void push(ClientWaiter& waiter) {
    waiter.list_ = this;
    waiter.previous_ = last_;
    waiter.next_ = nullptr;
    (last_ != nullptr ? last_->next_ : first_) = &waiter;
    last_ = &waiter;
    ++size_;
  }
  // Null when empty.
  ClientWaiter* pop() {
    ClientWaiter* waiter = first_;
    if (waiter != nullptr) waiter->leave();
    return waiter;
  }

 private:
  friend class ClientWaiter;
  ClientWaiter* first_ = nullptr;
  ClientWaiter* last_ = nullptr;
  std::size_t size_ = 0;
};

inline void ClientWaiter::leave() {
  if (list_ == nullptr) return;
  (previous_ != nullptr ? previous_->next_ : list_->first_) = next_;
  (next_ != nullptr ? next_->previous_ : list_->last_) = previous_;
  --list_->size_;
  list_ = nullptr;
  previous_ = next_ = nullptr;
}

}  // namespace heddle::proxy::http
