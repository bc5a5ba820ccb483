// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "proxy/telemetry/registry.h"
#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

enum class AccessLogFormat : std::uint8_t { off, apache, json };
// "off", "apache" or "json"; Errc::invalid_argument names them.
Result<AccessLogFormat> parse_access_log_format(std::string_view text);

// A TrafficRecord that owns its strings: what the recording thread works on.
struct OwnedRecord {
  explicit OwnedRecord(const TrafficRecord& record);
  std::int64_t unix_us;  // when it was recorded
  Direction direction;
  PodRef pod;
  SocketAddress client, original_dst, endpoint;
  std::string authority, protocol, tls, peer_identity, server_name, method, path, error;
  std::uint16_t status;
  std::uint64_t bytes_in, bytes_out;
  std::chrono::microseconds duration;
};

// Pure: one line, newline included. JSON is one object per line; apache is the common format with the mesh's
// facts behind it (docs/access-log.md). Control characters of the client's are escaped: a line stays a line.
std::string format_json(const OwnedRecord& record);
std::string format_apache(const OwnedRecord& record);

// Which records a tap wants; empty or zero members match everything. Pure.
struct TapFilter {
  std::string pod;  // name, or ns/name
  std::string ns;
  std::string protocol;
  std::string method;  // case-insensitive
  std::string path_prefix;
  std::uint16_t status = 0;
  bool matches(const OwnedRecord& record) const;
};

// Takes the workers' records to the access log and to taps on a thread of its own, so that a slow disk or a
// slow reader never stops traffic: queues are bounded, what does not fit is dropped and counted.
class Recorder {
 public:
  // Starts the thread. The log goes to `fd` (standard output), which must stay open. One queue per calling
  // thread (Telemetry) with room for `queue` records.
  explicit Recorder(AccessLogFormat format, int fd = 1, std::size_t queue = 8192);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  bool recording() const { return listeners_.load(std::memory_order_relaxed) != 0; }
  std::uint64_t dropped() const;
  std::uint64_t logged() const;
  // access_log_lines_total and access_log_dropped_total, for a registry that may outlive this.
  std::function<std::string(MetricsRegistry::Format)> collector() const;

  // A producer's queue; each belongs to one thread.
  class Queue {
   public:
    virtual ~Queue() = default;
    virtual void push(const TrafficRecord& record) = 0;
  };
  std::unique_ptr<Queue> make_queue();

  // A tap: `line` is called on the recording thread with one JSON line (and must not block) until the handle
  // is destroyed, which waits for a call in progress.
  class Tap {
   public:
    virtual ~Tap() = default;
  };
  [[nodiscard]] std::unique_ptr<Tap> tap(TapFilter filter, std::function<void(const std::string&)> line);

 private:
  struct Impl;
  std::atomic<unsigned> listeners_{0};  // the log and each tap
  std::shared_ptr<Impl> impl_;
};

}  // namespace heddle::proxy
