// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

class Recorder;

// Every series of the process. Each thread that counts has a Telemetry of its own, whose cells only it
// writes; a scrape reads the cells of all and adds up those with equal labels. Thread-safe; outlives its
// Telemetries.
class MetricsRegistry {
 public:
  struct Settings {
    // Label sets of one thread beyond this share one series labelled overflow="true", so that neither memory
    // nor a scrape grows with what clients invent.
    std::size_t max_series = 20'000;
    // A series that nobody has held for so long disappears.
    std::chrono::seconds idle = std::chrono::minutes(10);
  };
  MetricsRegistry();
  explicit MetricsRegistry(Settings settings);
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  // For one thread (a worker, the link thread, discovery, certificates). `recorder` may be null: records
  // nothing.
  std::unique_ptr<Telemetry> make_telemetry(Recorder* recorder = nullptr);

  enum class Format : std::uint8_t { prometheus, open_metrics };

  // Called at each scrape, on the scraping thread, and appended: families complete, in that format.
  void add_collector(std::function<std::string(Format)> collector);

  // The whole exposition: text format 0.0.4 or OpenMetrics 1.0.0. Also drops what was idle for too long.
  std::string expose(Format format, std::chrono::steady_clock::time_point now);
  std::string expose(Format format);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace heddle::proxy
