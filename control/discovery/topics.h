// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "control/discovery/endpoints.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// One stream's end of a topic. deliver() is called with the topics' lock held, in order; it must only queue.
template <class Message>
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  virtual void deliver(std::shared_ptr<const Message> message) = 0;
  // Nothing follows: the program ends.
  virtual void end() = 0;
};

// Questions that streams ask, each answered once per snapshot however many streams ask it: an answer whose
// inputs did not change is not computed, and a change is encoded once and shared. Thread-safe.
//
// Traits: types Question (ordered), Answer, Message; inputs(snapshot, question), answer(snapshot, question),
// changes(before or null, after) -> vector of shared_ptr<const Message>.
template <class Traits>
class Topics {
 public:
  using Question = typename Traits::Question;
  using Answer = typename Traits::Answer;
  using Message = typename Traits::Message;

  Topics(Traits traits, std::shared_ptr<const source::Snapshot> snapshot)
      : traits_(std::move(traits)), snapshot_(std::move(snapshot)) {}

  // Answers every question anew and delivers what changed. An older snapshot than the last one is ignored.
  void publish(std::shared_ptr<const source::Snapshot> snapshot) {
    const std::lock_guard lock(mutex_);
    if (snapshot->version() <= snapshot_->version()) return;
    for (auto& [question, topic] : topics_) {
      // Both snapshots are alive here, so equal addresses mean the same objects.
      Inputs inputs = traits_.inputs(*snapshot, question);
      if (inputs == topic.inputs) continue;
      topic.inputs = std::move(inputs);
      Answer answer = traits_.answer(*snapshot, question);
      const auto messages = traits_.changes(&topic.answer, answer);
      topic.answer = std::move(answer);
      for (Subscriber<Message>* subscriber : topic.subscribers) {
        for (const auto& message : messages) subscriber->deliver(message);
      }
    }
    snapshot_ = std::move(snapshot);
  }

  // Delivers the whole answer at once if `accept` likes it. The subscriber must live until remove().
  bool add(const Question& question, Subscriber<Message>& subscriber,
           const std::function<bool(const Answer&)>& accept) {
    const std::lock_guard lock(mutex_);
    auto found = topics_.find(question);
    if (found == topics_.end()) {
      Topic topic{traits_.inputs(*snapshot_, question), traits_.answer(*snapshot_, question), {}};
      if (!accept(topic.answer)) return false;
      found = topics_.emplace(question, std::move(topic)).first;
    } else if (!accept(found->second.answer)) {
      return false;
    }
    found->second.subscribers.insert(&subscriber);
    for (const auto& message : traits_.changes(nullptr, found->second.answer)) subscriber.deliver(message);
    if (ended_) subscriber.end();
    return true;
  }

  // After it returns, the subscriber is not called any more. Unknown ones are ignored.
  void remove(const Question& question, Subscriber<Message>& subscriber) {
    const std::lock_guard lock(mutex_);
    const auto found = topics_.find(question);
    if (found == topics_.end()) return;
    found->second.subscribers.erase(&subscriber);
    if (found->second.subscribers.empty()) topics_.erase(found);
  }

  // Ends every stream, and those to come.
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (auto& [question, topic] : topics_) {
      for (Subscriber<Message>* subscriber : topic.subscribers) subscriber->end();
    }
  }

  std::size_t questions() const {
    const std::lock_guard lock(mutex_);
    return topics_.size();
  }

 private:
  struct Topic {
    Inputs inputs;
    Answer answer;
    std::set<Subscriber<Message>*> subscribers;
  };

  const Traits traits_;
  mutable std::mutex mutex_;
  std::shared_ptr<const source::Snapshot> snapshot_;
  std::map<Question, Topic> topics_;
  bool ended_ = false;
};

}  // namespace heddle::control
