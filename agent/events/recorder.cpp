// SPDX-License-Identifier: Apache-2.0
#include "agent/events/recorder.h"

#include <algorithm>
#include <ctime>

#include "control/source/kubernetes/caller.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds deadline{5000};
constexpr std::chrono::milliseconds turn{1000};
// The API server forgets Events after an hour by default: then it is a new one.
constexpr std::chrono::minutes remembered_for{50};

}  // namespace

EventRecorder::EventRecorder(Loop& loop, source::kubernetes::Caller& api, std::string node)
    : loop_(loop), api_(api), node_(std::move(node)) {
  timer_ = loop_.every(turn, [this] { write_due(); });
}

EventRecorder::~EventRecorder() {
  *alive_ = false;
}

void EventRecorder::report(const EventSubject& subject, EventReason reason, std::string message) {
  if (subject.ns.empty() || subject.pod.empty() || subject.uid.empty()) return;
  const std::string name = subject.ns + "/" + event_name(subject, reason);
  auto found = events_.find(name);
  if (found == events_.end()) {
    if (events_.size() >= most_remembered) make_room();
    if (events_.size() >= most_remembered) {
      ++totals_.dropped;
      return;
    }
    found = events_.emplace(name, Remembered{}).first;
    found->second.event.count = 0;
    found->second.event.first_unix = std::time(nullptr);
  }
  Remembered& remembered = found->second;
  remembered.event.subject = subject;
  remembered.event.reason = reason;
  remembered.event.message = std::move(message);
  remembered.event.last_unix = std::time(nullptr);
  ++remembered.event.count;
  remembered.due = true;
  remembered.told = Clock::now();
  write_due();
}

void EventRecorder::write_due() {
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - refilled_).count();
  tokens_ = std::min(burst, tokens_ + passed * per_second);
  refilled_ = now;
  for (auto& [name, remembered] : events_) {
    if (tokens_ < 1) return;
    if (!remembered.due || remembered.writing) continue;
    tokens_ -= 1;
    write(name, remembered);
  }
}

void EventRecorder::write(const std::string& name, Remembered& remembered) {
  remembered.due = false;
  remembered.writing = true;
  source::kubernetes::Request request;
  const auto slash = name.find('/');
  request.target = "/api/v1/namespaces/" + name.substr(0, slash) + "/events";
  if (remembered.exists) {
    request.method = "PATCH";
    request.target += name.substr(slash);
    request.content_type = "application/merge-patch+json";
    request.body = encode_event_repeat(remembered.event);
  } else {
    request.method = "POST";
    request.content_type = "application/json";
    request.body = encode_event(remembered.event, node_);
  }
  api_.call(std::move(request), deadline,
            [this, alive = alive_, &loop = loop_, name](const Result<source::kubernetes::Answer>& answer) {
              const int status = answer ? answer->status : 0;
              const std::string problem =
                  answer ? "status " + std::to_string(status) : answer.error().message();
              loop.post([this, alive, name, status, problem] {
                if (*alive) written(name, status, problem);
              });
            });
}

void EventRecorder::written(const std::string& name, int status, const std::string& problem) {
  const auto found = events_.find(name);
  if (found == events_.end()) return;
  Remembered& remembered = found->second;
  remembered.writing = false;
  if (status == 200 || status == 201) {
    remembered.exists = true;
    ++totals_.written;
    return;
  }
  // Made by an earlier agent, or forgotten by the server meanwhile: the other way is right.
  if ((status == 409 && !remembered.exists) || (status == 404 && remembered.exists)) {
    remembered.exists = !remembered.exists;
    remembered.due = true;
    return;
  }
  ++totals_.failed;
  if (problem == problem_) return;
  problem_ = problem;
  spdlog::warn("cannot write Events about pods error=\"{}\" next=\"allow create and patch of events\"",
               problem);
}

void EventRecorder::make_room() {
  const auto now = Clock::now();
  std::erase_if(events_, [now](const auto& entry) {
    const Remembered& remembered = entry.second;
    return !remembered.due && !remembered.writing && now - remembered.told > remembered_for;
  });
}

}  // namespace heddle::agent
