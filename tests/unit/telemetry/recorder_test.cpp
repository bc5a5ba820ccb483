// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/recorder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/fd.h"

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;

std::pair<Fd, Fd> make_pipe() {
  int fds[2];
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

std::string read_lines(int fd, std::size_t lines) {
  std::string text;
  while (static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) < lines) {
    char bytes[4096];
    const auto n = ::read(fd, bytes, sizeof bytes);
    if (n <= 0) break;
    text.append(bytes, static_cast<std::size_t>(n));
  }
  return text;
}

TEST(Recorder, RecordsNothingForNobody) {
  Recorder recorder(AccessLogFormat::off);
  EXPECT_FALSE(recorder.recording());
}

TEST(Recorder, WritesTheLogOfAllProducers) {
  auto [in, out] = make_pipe();
  Recorder recorder(AccessLogFormat::json, out.get());
  EXPECT_TRUE(recorder.recording());
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([queue = std::shared_ptr<Recorder::Queue>(recorder.make_queue())] {
      TrafficRecord r;
      r.path = "/x";
      for (int i = 0; i < 200; ++i) queue->push(r);
    });
  }
  const auto text = read_lines(in.get(), 600);
  for (auto& t : threads) t.join();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 600);
  EXPECT_EQ(recorder.dropped(), 0u);
}

TEST(Recorder, DropsAndCountsWhenTheLogIsNotRead) {
  auto [in, out] = make_pipe();
  auto recorder = std::make_unique<Recorder>(AccessLogFormat::json, out.get(), 100);
  auto queue = recorder->make_queue();
  TrafficRecord r;
  const std::string path(1000, 'p');
  r.path = path;
  for (int i = 0; i < 10'000; ++i) queue->push(r);
  EXPECT_GT(recorder->dropped(), 5000u);
  std::thread reader([fd = in.get()] { read_lines(fd, 1'000'000); });
  queue.reset();
  recorder.reset();
  out.reset();
  reader.join();
}

TEST(Recorder, FeedsTapsUntilTheyEnd) {
  Recorder recorder(AccessLogFormat::off);
  auto queue = recorder.make_queue();
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> lines;
  TapFilter only_get;
  only_get.method = "GET";
  auto tap = recorder.tap(only_get, [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    lines.push_back(line);
    changed.notify_all();
  });
  EXPECT_TRUE(recorder.recording());
  TrafficRecord r;
  r.method = "POST";
  queue->push(r);
  r.method = "GET";
  queue->push(r);
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, 10s, [&] { return !lines.empty(); }));
    EXPECT_NE(lines[0].find("\"GET\""), std::string::npos);
  }
  tap.reset();
  EXPECT_FALSE(recorder.recording());
}

}  // namespace
}  // namespace heddle::proxy
