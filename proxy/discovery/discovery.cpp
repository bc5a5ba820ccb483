// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/discovery.h"

#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/backoff.h"
#include "base/log.h"
#include "proxy/discovery/executor.h"
#include "proxy/discovery/json.h"
#include "proxy/discovery/streams.h"
#include "proxy/discovery/worker_directory.h"
#include "proxy/io/loop.h"

namespace heddle::proxy {
namespace {

using Clock = Executor::Clock;
using WorkerId = unsigned;

// One address as seen from one namespace: its streams and who wants to know. On the executor.
struct Watch {
  Watch(LookupKey k, std::string t, const Backoff::Policy& policy, std::uint64_t seed)
      : key(std::move(k)),
        token(std::move(t)),
        entry(key.address, key.name),
        profile_backoff(policy, seed),
        endpoints_backoff(policy, seed + 1) {}
  const LookupKey key;
  const std::string token;
  Entry entry;
  std::set<WorkerId> workers;
  std::vector<Discovery::Reply> questions;  // of explain(), answered when the address is known
  unsigned expectation = 0;                 // number of the latest expect_answer()
  std::unique_ptr<Streams::Call> profile;
  std::unique_ptr<Streams::Call> endpoints;
  std::string endpoints_path;  // what Get was last asked for
  // Numbers of the calls: what an earlier one says counts no more.
  unsigned profile_call = 0;
  unsigned endpoints_call = 0;
  Backoff profile_backoff;
  Backoff endpoints_backoff;
  ResolutionRef published = std::make_shared<Resolution>();
  std::string last_error;
};
using WatchRef = std::shared_ptr<Watch>;

struct WorkerEnd {
  Loop* loop;
  std::weak_ptr<WorkerDirectory> directory;
};

// Everything about control that is counted; null cells without telemetry.
struct Counters {
  explicit Counters(Telemetry* telemetry) {
    if (!telemetry) return;
    const auto updates = [&](const char* rpc) {
      return telemetry->counter("discovery_updates_total", "Messages received from control",
                                render_label("rpc", rpc));
    };
    profiles = updates("GetProfile");
    endpoints = updates("Get");
    broken = telemetry->counter("discovery_streams_broken_total", "Streams to control that failed", "");
    unavailable = telemetry->counter("discovery_unavailable_total",
                                     "Addresses refused because control did not answer in time", "");
    entries = telemetry->gauge("discovery_entries", "Addresses watched", "");
    connected = telemetry->gauge("discovery_connected", "1 while control answers", "");
  }
  static void add(const std::shared_ptr<Cell>& cell) {
    if (cell) cell->add(1);
  }
  static void set(const std::shared_ptr<Cell>& cell, std::uint64_t value) {
    if (cell) cell->set(value);
  }
  std::shared_ptr<Cell> profiles, endpoints, broken, unavailable, entries, connected;
};

class Client final : public Discovery {
 public:
  Client(Options options, std::unique_ptr<Telemetry> telemetry)
      : options_(std::move(options)),
        telemetry_(std::move(telemetry)),
        counters_(telemetry_.get()),
        executor_(std::make_shared<Executor>("discovery")) {}

  ~Client() override {
    executor_->stop();
    watches_.clear();
    probe_.reset();
    streams_.reset();
  }

  Result<> begin() {
    auto made = Streams::make(options_, executor_);
    if (!made) return made.error();
    streams_ = std::move(*made);
    refresh_later();
    look_for_control();
    return {};
  }

  std::unique_ptr<Directory> make_directory(Loop& loop) override {
    const std::lock_guard lock(workers_mutex_);
    const WorkerId id = next_worker_++;
    WorkerDirectory::Upstream upstream{
        [this, id](const LookupKey& key, const std::string& pod) {
          executor_->post([this, id, key, pod] { subscribe(id, key, pod); });
        },
        [this, id](const LookupKey& key) { executor_->post([this, id, key] { unsubscribe(id, key); }); },
        [this, id] { forget_worker(id); }};
    auto made = make_worker_directory(loop, {options_.idle, options_.max_entries}, std::move(upstream));
    workers_.emplace(id, WorkerEnd{&loop, made.worker});
    return std::move(made.directory);
  }

  void on_first_answer(std::function<void()> callback) override {
    executor_->post([this, callback = std::move(callback)] {
      if (answered_) return callback();
      first_answer_.push_back(callback);
    });
  }

  std::string state_json() const override {
    const std::lock_guard lock(executor_->state);
    std::string out = std::string("{\"control\":") + json_text(options_.address) +
                      ",\"connected\":" + (up_ ? "true" : "false") + ",\"entries\":[";
    bool first = true;
    for (const auto& [key, watch] : watches_) {
      if (!first) out += ",";
      first = false;
      out += json(*watch);
    }
    return out + "]}";
  }

  void explain(const std::string& ns, const SocketAddress& address, Reply reply) override {
    executor_->post([this, key = LookupKey{ns, address}, reply = std::move(reply)] {
      const WatchRef watch = watch_of(key, "");
      watch->questions.push_back(reply);
      if (watch->published->state != Destination::State::pending) answer_questions(watch);
    });
  }

 private:
  WatchRef watch_of(const LookupKey& key, const std::string& pod);
  void forget_unused(const LookupKey& key);
  void answer_questions(const WatchRef& watch);
  void subscribe(WorkerId worker, const LookupKey& key, const std::string& pod);
  void unsubscribe(WorkerId worker, const LookupKey& key);
  void forget_worker(WorkerId worker);
  void ask_profile(const WatchRef& watch);
  void ask_endpoints(const WatchRef& watch);
  void profile_said(const WatchRef& watch, ProfileUpdate update);
  void profile_ended(const WatchRef& watch, StreamEnd end, const std::string& why);
  void endpoints_ended(const WatchRef& watch, StreamEnd end, const std::string& why);
  void expect_answer(const WatchRef& watch);
  void overdue(const WatchRef& watch);
  void publish(const WatchRef& watch);
  void tell(WorkerId worker, const Watch& watch);
  void control_answered();
  void control_away(const std::string& why);
  void refresh_later();
  void look_for_control();
  std::string json(const Watch& watch) const;

  // Runs `step` later with the watch, if it still exists.
  template <class Step>
  void later(const WatchRef& watch, std::chrono::milliseconds wait, Step step) {
    executor_->at(Clock::now() + wait, [weak = std::weak_ptr<Watch>(watch), step] {
      if (const auto still = weak.lock()) step(still);
    });
  }

  const Options options_;
  const std::unique_ptr<Telemetry> telemetry_;
  Counters counters_;
  std::shared_ptr<Executor> executor_;

  // The executor's (executor_->state).
  std::unique_ptr<Streams> streams_;
  std::unique_ptr<Streams::Call> probe_;
  std::map<LookupKey, WatchRef> watches_;
  std::vector<std::function<void()>> first_answer_;
  bool answered_ = false;
  bool up_ = false;
  std::uint64_t refused_silently_ = 0;
  Clock::time_point complained_{};
  std::uint64_t seed_ = 1;

  std::mutex workers_mutex_;
  std::map<WorkerId, WorkerEnd> workers_;
  WorkerId next_worker_ = 0;
};

constexpr auto refresh_interval = std::chrono::seconds(15);
constexpr auto look_interval = std::chrono::milliseconds(200);

WatchRef Client::watch_of(const LookupKey& key, const std::string& pod) {
  auto& watch = watches_[key];
  if (!watch) {
    const std::string token = "{\"ns\":" + json_text(key.ns) +
                              ",\"nodeName\":" + json_text(options_.node_name) +
                              ",\"pod\":" + json_text(pod) + "}";
    const Backoff::Policy policy{options_.min_backoff, options_.max_backoff, 0.25};
    watch = std::make_shared<Watch>(key, token, policy, seed_ += 2);
    ask_profile(watch);
    expect_answer(watch);
    Counters::set(counters_.entries, watches_.size());
  }
  return watch;
}

void Client::forget_unused(const LookupKey& key) {
  const auto it = watches_.find(key);
  if (it == watches_.end() || !it->second->workers.empty() || !it->second->questions.empty()) return;
  watches_.erase(it);
  Counters::set(counters_.entries, watches_.size());
}

void Client::answer_questions(const WatchRef& watch) {
  if (watch->questions.empty()) return;
  const std::string answer = json(*watch);
  for (const auto& reply : std::exchange(watch->questions, {})) reply(answer);
  // Later: the caller still works with the watch.
  executor_->post([this, key = watch->key] { forget_unused(key); });
}

void Client::subscribe(WorkerId worker, const LookupKey& key, const std::string& pod) {
  const WatchRef watch = watch_of(key, pod);
  watch->workers.insert(worker);
  tell(worker, *watch);
}

void Client::unsubscribe(WorkerId worker, const LookupKey& key) {
  const auto it = watches_.find(key);
  if (it == watches_.end()) return;
  it->second->workers.erase(worker);
  forget_unused(key);
}

// Called on the worker's thread: nothing is posted to its loop from here on.
void Client::forget_worker(WorkerId worker) {
  {
    const std::lock_guard lock(workers_mutex_);
    workers_.erase(worker);
  }
  executor_->post([this, worker] {
    std::vector<LookupKey> theirs;
    for (const auto& [key, watch] : watches_) {
      if (watch->workers.erase(worker) != 0) theirs.push_back(key);
    }
    for (const auto& key : theirs) forget_unused(key);
  });
}

void Client::ask_profile(const WatchRef& watch) {
  const unsigned call = ++watch->profile_call;
  const std::weak_ptr<Watch> weak = watch;
  watch->profile = streams_->profile(
      watch->key.text(), watch->token,
      [this, weak, call](ProfileUpdate update) {
        const auto still = weak.lock();
        if (still && still->profile_call == call) profile_said(still, std::move(update));
      },
      [this, weak, call](StreamEnd end, const std::string& why) {
        const auto still = weak.lock();
        if (still && still->profile_call == call) profile_ended(still, end, why);
      });
}

void Client::profile_said(const WatchRef& watch, ProfileUpdate update) {
  Counters::add(counters_.profiles);
  control_answered();
  watch->profile_backoff.reset();
  watch->entry.profile(std::move(update));
  if (watch->entry.wanted_path() != watch->endpoints_path) ask_endpoints(watch);
  publish(watch);
}

void Client::profile_ended(const WatchRef& watch, StreamEnd end, const std::string& why) {
  watch->last_error = why;
  const bool broken = end == StreamEnd::broken;
  if (broken) {
    control_away(why);
  } else {
    control_answered();
    watch->entry.profile_ended(end);
    watch->endpoints.reset();
    watch->endpoints_path.clear();
    publish(watch);
  }
  later(watch, broken ? watch->profile_backoff.next() : options_.not_found_retry,
        [this, call = watch->profile_call](const WatchRef& w) {
          if (w->profile_call == call) ask_profile(w);
        });
}

void Client::ask_endpoints(const WatchRef& watch) {
  const unsigned call = ++watch->endpoints_call;
  const bool other = watch->endpoints_path != watch->entry.wanted_path();
  watch->endpoints_path = watch->entry.wanted_path();
  watch->endpoints.reset();
  if (watch->endpoints_path.empty()) return;
  if (other) expect_answer(watch);
  watch->entry.endpoints_began();
  const std::weak_ptr<Watch> weak = watch;
  watch->endpoints = streams_->endpoints(
      watch->endpoints_path, watch->token,
      [this, weak, call](EndpointsUpdate update) {
        const auto still = weak.lock();
        if (!still || still->endpoints_call != call) return;
        Counters::add(counters_.endpoints);
        control_answered();
        still->endpoints_backoff.reset();
        still->entry.endpoints(std::move(update));
        publish(still);
      },
      [this, weak, call](StreamEnd end, const std::string& why) {
        const auto still = weak.lock();
        if (still && still->endpoints_call == call) endpoints_ended(still, end, why);
      });
}

void Client::endpoints_ended(const WatchRef& watch, StreamEnd end, const std::string& why) {
  watch->last_error = why;
  const bool broken = end == StreamEnd::broken;
  if (broken) {
    control_away(why);
  } else {
    control_answered();
    watch->entry.endpoints_ended(end);
    publish(watch);
  }
  later(watch, broken ? watch->endpoints_backoff.next() : options_.not_found_retry,
        [this, call = watch->endpoints_call](const WatchRef& w) {
          if (w->endpoints_call == call) ask_endpoints(w);
        });
}

void Client::expect_answer(const WatchRef& watch) {
  // An answer that came lets the address wait for the next one as long again.
  later(watch, options_.answer_timeout, [this, number = ++watch->expectation](const WatchRef& w) {
    if (w->expectation == number) overdue(w);
  });
}

void Client::overdue(const WatchRef& watch) {
  if (watch->entry.resolution().state != Destination::State::pending) return;
  watch->entry.overdue();
  publish(watch);
  if (!watch->published->unavailable) return;
  Counters::add(counters_.unavailable);
  ++refused_silently_;
  if (Clock::now() < complained_ + std::chrono::seconds(10)) return;
  complained_ = Clock::now();
  spdlog::warn(
      "discovery unavailable, connections to addresses it never answered for are refused addresses={} "
      "latest={} control={} error=\"{}\" next_step=\"is heddle-control running and reachable?\"",
      std::exchange(refused_silently_, 0), watch->key.text(), options_.address, watch->last_error);
}

void Client::publish(const WatchRef& watch) {
  auto resolution = std::make_shared<Resolution>(watch->entry.resolution());
  if (*resolution == *watch->published) return;
  // A service that has become another one: the old one's endpoints serve until the new one's are known.
  if (resolution->state == Destination::State::pending) return;
  watch->published = std::move(resolution);
  for (const auto worker : watch->workers) tell(worker, *watch);
  answer_questions(watch);
}

void Client::tell(WorkerId worker, const Watch& watch) {
  if (watch.published->state == Destination::State::pending) return;
  const std::lock_guard lock(workers_mutex_);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  it->second.loop->post([weak = it->second.directory, key = watch.key, resolution = watch.published] {
    if (const auto directory = weak.lock()) directory->apply(key, resolution);
  });
}

void Client::control_answered() {
  if (!up_) spdlog::info("discovery answers control={}", options_.address);
  up_ = true;
  Counters::set(counters_.connected, 1);
  if (answered_) return;
  answered_ = true;
  const auto callbacks = std::move(first_answer_);
  for (const auto& callback : callbacks) callback();
}

void Client::control_away(const std::string& why) {
  Counters::add(counters_.broken);
  Counters::set(counters_.connected, 0);
  if (up_) {
    spdlog::warn("discovery lost, what is known goes on being used control={} error=\"{}\"", options_.address,
                 why);
  }
  up_ = false;
}

void Client::refresh_later() {
  executor_->at(Clock::now() + refresh_interval, [this] {
    if (streams_->refresh()) {
      for (auto& [key, watch] : watches_) {
        ask_profile(watch);
        if (!watch->endpoints_path.empty()) ask_endpoints(watch);
      }
      look_for_control();  // what it asked waits on the old connection
    }
    refresh_later();
  });
}

// Asks something before anybody else does, so that the first look-up need not wait for the connection and
// readiness not for traffic. A real call: gRPC makes little progress on a channel that nobody calls over.
void Client::look_for_control() {
  if (answered_) return;
  probe_ = streams_->profile(
      "127.0.0.1:1", "{}",
      [this](const ProfileUpdate&) {
        control_answered();
        executor_->post([this] { probe_.reset(); });
      },
      [this](StreamEnd end, const std::string&) {
        if (end != StreamEnd::broken) control_answered();
        executor_->at(Clock::now() + look_interval, [this] {
          probe_.reset();
          look_for_control();
        });
      });
}

std::string Client::json(const Watch& watch) const {
  std::string out = "{\"namespace\":" + json_text(watch.key.ns) +
                    ",\"address\":" + json_text(watch.key.text()) + "," + json_members(*watch.published) +
                    ",\"workers\":" + std::to_string(watch.workers.size()) +
                    ",\"connected\":" + (up_ ? "true" : "false");
  if (!watch.last_error.empty()) out += ",\"last_error\":" + json_text(watch.last_error);
  return out + "}";
}

}  // namespace

Result<std::unique_ptr<Discovery>> Discovery::start(Options options, std::unique_ptr<Telemetry> telemetry) {
  auto client = std::make_unique<Client>(std::move(options), std::move(telemetry));
  if (auto begun = client->begin(); !begun) return begun.error();
  return std::unique_ptr<Discovery>(std::move(client));
}

}  // namespace heddle::proxy
