// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/recorder.h"

#include <pthread.h>
#include <unistd.h>

#include <boost/lockfree/spsc_queue.hpp>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "proxy/telemetry/exposition.h"

namespace heddle::proxy {
namespace {

struct Shared {
  AccessLogFormat format;
  int fd;
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> logged{0};
  // Rises with each push; the thread sleeps on it (futex only while it really sleeps).
  std::atomic<std::uint32_t> pushes{0};
  std::atomic<bool> stop{false};
};

// One producer, one consumer, no lock: a worker that records never waits.
class Ring final : public Recorder::Queue {
 public:
  Ring(std::shared_ptr<Shared> shared, std::size_t size) : shared_(std::move(shared)), queue_(size) {}
  ~Ring() override {
    OwnedRecord* left = nullptr;
    while (queue_.pop(left)) delete left;
  }

  void push(const TrafficRecord& record) override {
    auto owned = std::make_unique<OwnedRecord>(record);
    if (!queue_.push(owned.get())) {
      shared_->dropped.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    (void)owned.release();
    shared_->pushes.fetch_add(1, std::memory_order_release);
    shared_->pushes.notify_one();
  }

  std::unique_ptr<OwnedRecord> pop() {
    OwnedRecord* record = nullptr;
    queue_.pop(record);
    return std::unique_ptr<OwnedRecord>(record);
  }

  bool empty() { return queue_.read_available() == 0; }

 private:
  std::shared_ptr<Shared> shared_;
  boost::lockfree::spsc_queue<OwnedRecord*> queue_;
};

// The worker's handle; the ring itself lives until the recorder has drained it.
class RingHandle final : public Recorder::Queue {
 public:
  explicit RingHandle(std::shared_ptr<Ring> ring) : ring_(std::move(ring)) {}
  void push(const TrafficRecord& record) override { ring_->push(record); }

 private:
  std::shared_ptr<Ring> ring_;
};

struct Tapping {
  TapFilter filter;
  std::function<void(const std::string&)> line;
};

void write_all(int fd, std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const auto n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // nobody reads any more: the log is gone, traffic is not
    done += static_cast<std::size_t>(n);
  }
  text.clear();
}

}  // namespace

struct Recorder::Impl {
  std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  std::size_t queue_size = 0;
  std::mutex mutex;  // rings and taps; held while tap lines are delivered
  std::vector<std::shared_ptr<Ring>> rings;
  std::list<std::shared_ptr<Tapping>> taps;
  std::thread thread;

  void run() {
    pthread_setname_np(pthread_self(), "access-log");
    std::string text;
    for (;;) {
      const auto seen = shared->pushes.load(std::memory_order_acquire);
      const bool stopping = shared->stop.load(std::memory_order_acquire);
      bool any = false;
      {
        const std::lock_guard lock(mutex);
        for (auto& ring : rings) {
          for (int burst = 0; burst < 256; ++burst) {
            auto record = ring->pop();
            if (!record) break;
            any = true;
            deliver(*record, text);
          }
        }
        // A ring whose producer is gone is forgotten once empty.
        std::erase_if(rings, [](const auto& ring) { return ring.use_count() == 1 && ring->empty(); });
      }
      write_all(shared->fd, text);
      if (any) continue;
      if (stopping) return;
      shared->pushes.wait(seen, std::memory_order_acquire);
    }
  }

  void deliver(const OwnedRecord& record, std::string& text) {
    if (shared->format == AccessLogFormat::json) text += format_json(record);
    if (shared->format == AccessLogFormat::apache) text += format_apache(record);
    if (shared->format != AccessLogFormat::off) shared->logged.fetch_add(1, std::memory_order_relaxed);
    std::string json;
    for (auto& tap : taps) {
      if (!tap->filter.matches(record)) continue;
      if (json.empty()) json = format_json(record);
      tap->line(json);
    }
  }
};

Recorder::Recorder(AccessLogFormat format, int fd, std::size_t queue) : impl_(std::make_shared<Impl>()) {
  impl_->shared->format = format;
  impl_->shared->fd = fd;
  impl_->queue_size = queue;
  if (format != AccessLogFormat::off) listeners_ = 1;
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

Recorder::~Recorder() {
  impl_->shared->stop = true;
  impl_->shared->pushes.fetch_add(1);
  impl_->shared->pushes.notify_one();
  impl_->thread.join();
}

std::uint64_t Recorder::dropped() const {
  return impl_->shared->dropped.load();
}
std::uint64_t Recorder::logged() const {
  return impl_->shared->logged.load();
}

std::function<std::string(MetricsRegistry::Format)> Recorder::collector() const {
  return [shared = impl_->shared](MetricsRegistry::Format format) {
    Exposition out;
    out.add("access_log_lines_total", "Lines written to the access log", Exposition::Type::counter, "",
            shared->logged.load());
    out.add("access_log_dropped_total", "Records that found the queue of the access log and of taps full",
            Exposition::Type::counter, "", shared->dropped.load());
    return out.write(format);
  };
}

std::unique_ptr<Recorder::Queue> Recorder::make_queue() {
  auto ring = std::make_shared<Ring>(impl_->shared, impl_->queue_size);
  const std::lock_guard lock(impl_->mutex);
  impl_->rings.push_back(ring);
  return std::make_unique<RingHandle>(std::move(ring));
}

namespace {

template <class Remove>
class TapHandle final : public Recorder::Tap {
 public:
  explicit TapHandle(Remove remove) : remove_(std::move(remove)) {}
  ~TapHandle() override { remove_(); }

 private:
  Remove remove_;
};

}  // namespace

std::unique_ptr<Recorder::Tap> Recorder::tap(TapFilter filter, std::function<void(const std::string&)> line) {
  auto tapping = std::make_shared<Tapping>(Tapping{std::move(filter), std::move(line)});
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->taps.push_back(tapping);
  }
  listeners_.fetch_add(1);
  auto remove = [this, tapping] {
    listeners_.fetch_sub(1);
    const std::lock_guard lock(impl_->mutex);
    impl_->taps.remove(tapping);
  };
  return std::make_unique<TapHandle<decltype(remove)>>(std::move(remove));
}

}  // namespace heddle::proxy
