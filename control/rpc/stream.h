// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "control/counters.h"
#include "control/discovery/topics.h"

namespace heddle::control {

// One server stream of a topic's messages. gRPC calls On*() on its threads, the topics deliver() on the
// source's; at most one write is under way, the rest queue. A client that lets the queue grow beyond
// `queue_limit` is cut off: it reconnects and gets the whole answer, which costs less than keeping it.
// Deletes itself when gRPC is done.
template <class AllTopics>
class Stream final : public grpc::ServerWriteReactor<typename AllTopics::Message>,
                     public Subscriber<typename AllTopics::Message> {
 public:
  using Message = typename AllTopics::Message;
  using Question = typename AllTopics::Question;
  using Answer = typename AllTopics::Answer;
  static constexpr std::size_t queue_limit = 100;

  // `check` returns a status other than OK to end the stream with it instead of answering.
  template <class Check>
  Stream(grpc::CallbackServerContext& context, AllTopics& topics, Question question, StreamCounters& counters,
         Check check)
      : context_(context), topics_(topics), question_(std::move(question)), counters_(counters) {
    counters_.open += 1;
    counters_.opened += 1;
    grpc::Status status;
    const bool added = topics_.add(question_, *this, [&](const Answer& answer) {
      status = check(answer);
      return status.ok();
    });
    if (added) return;
    counters_.refused += 1;
    const std::lock_guard lock(mutex_);
    finish(status);
  }

  void deliver(std::shared_ptr<const Message> message) override {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    if (queue_.size() >= queue_limit) {
      // The write under way may never end by itself; cancelling makes it fail, and OnWriteDone finishes.
      counters_.aborted += 1;
      ending_ = true;
      status_ = grpc::Status(grpc::StatusCode::ABORTED, "updates were read too slowly: connect again");
      queue_.clear();
      context_.TryCancel();
      return;
    }
    queue_.push_back(std::move(message));
    write_next();
  }

  void end() override {
    const std::lock_guard lock(mutex_);
    finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "heddle-control is shutting down: connect again"));
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_.reset();
    if (!ok) finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone"));
    if (ending_) {
      finish_when_idle();
    } else {
      write_next();
    }
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    topics_.remove(question_, *this);
    counters_.open -= 1;
    delete this;
  }

 private:
  void write_next() {
    if (writing_ || queue_.empty()) return;
    writing_ = std::move(queue_.front());
    queue_.pop_front();
    counters_.messages += 1;
    this->StartWrite(writing_.get());
  }

  void finish(const grpc::Status& status) {
    if (!ending_) {
      ending_ = true;
      status_ = status;
      queue_.clear();
    }
    finish_when_idle();
  }

  void finish_when_idle() {
    if (writing_ || finished_) return;
    finished_ = true;
    this->Finish(status_);
  }

  grpc::CallbackServerContext& context_;
  AllTopics& topics_;
  const Question question_;
  StreamCounters& counters_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<const Message>> queue_;
  std::shared_ptr<const Message> writing_;
  grpc::Status status_;
  bool ending_ = false;
  bool finished_ = false;
};

}  // namespace heddle::control
