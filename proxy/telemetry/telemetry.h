// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

// A number written by one worker and read by the scraping thread: plain loads and stores, no locked
// instruction.
class Cell {
 public:
  void add(std::uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void sub(std::uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
  }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Fixed buckets; `observe` is a search and two adds.
class Histogram {
 public:
  explicit Histogram(const std::vector<double>& upper_bounds);
  void observe(double value);
  const std::vector<double>& bounds() const { return bounds_; }
  std::uint64_t bucket(std::size_t i) const { return buckets_[i].get(); }  // not cumulative; the last is +Inf
  double sum() const;

 private:
  std::vector<double> bounds_;
  std::unique_ptr<Cell[]> buckets_;
  std::atomic<double> sum_{0};
};

enum class Direction : std::uint8_t { inbound, outbound };

// The labels that a connection's series share, already escaped:
// `direction="outbound",tls="true",server_id="..."`.
using Labels = std::string;
std::string render_label(std::string_view name, std::string_view value);  // name="escaped value"

// Series of one kind of traffic, found once per connection or endpoint and then only incremented. Owned by
// the registry; stay valid while somebody holds the shared_ptr, idle ones disappear 10 minutes after the last
// holder.
struct TcpSeries {
  Cell open_total, open_connections, close_total, read_bytes, write_bytes;
};
struct HttpSeries {
  HttpSeries();
  ~HttpSeries();
  HttpSeries(const HttpSeries&) = delete;
  HttpSeries& operator=(const HttpSeries&) = delete;

  Cell requests;  // request_total
  // response_total by status code and classification; a list that only grows, read while the worker adds to
  // it.
  struct Response {
    std::uint16_t status;
    std::int16_t grpc_status;  // -1: not gRPC
    bool success;
    std::string error;  // one of a small set of names chosen by the proxy, empty without one
    Cell count;
    const Response* next;
  };
  const Response* responses() const { return head_.load(std::memory_order_acquire); }
  Histogram latency_ms;  // response_latency_ms
  // Counts one finished response; `ms` from the request's first byte to the response's.
  void respond(std::uint16_t status, std::int16_t grpc_status, bool success, std::string_view error,
               double ms);

 private:
  std::atomic<Response*> head_{nullptr};
};

// One finished request or connection, for the access log and tap.
struct TrafficRecord {
  Direction direction = Direction::outbound;
  PodRef pod;
  SocketAddress client;
  SocketAddress original_dst;
  SocketAddress endpoint;
  std::string_view authority;  // destination service
  std::string_view protocol;   // "http/1", "http/2", "grpc", "tls", "opaque"
  std::string_view tls;        // "true", "no_identity", "local" (joined), ...
  std::string_view peer_identity;
  std::string_view server_name;   // SNI of the apps' own TLS
  std::string_view method, path;  // requests only
  std::uint16_t status = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;
  std::chrono::microseconds duration{0};
  std::string_view error;
};

// One worker's metrics. Creation of series locks the registry (once per new label set); increments never do.
class Telemetry {
 public:
  virtual ~Telemetry() = default;
  virtual std::shared_ptr<TcpSeries> tcp(const Labels& labels) = 0;
  virtual std::shared_ptr<HttpSeries> http(const Labels& labels) = 0;
  // A counter or histogram of any other family, `name` and `help` being literals.
  virtual std::shared_ptr<Cell> counter(const char* name, const char* help, const Labels& labels) = 0;
  virtual std::shared_ptr<Cell> gauge(const char* name, const char* help, const Labels& labels) = 0;
  virtual std::shared_ptr<Histogram> histogram(const char* name, const char* help,
                                               const std::vector<double>& bounds, const Labels& labels) = 0;
  // True when a log or a tap listens, so that callers need not build records for nobody.
  virtual bool recording() const = 0;
  virtual void record(const TrafficRecord& record) = 0;
};

}  // namespace heddle::proxy
