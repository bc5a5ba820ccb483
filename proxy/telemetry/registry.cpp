// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/registry.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/telemetry/exposition.h"
#include "proxy/telemetry/recorder.h"

namespace heddle::proxy {
namespace {

using Clock = std::chrono::steady_clock;
using Type = Exposition::Type;

struct Descriptor {
  const char* name;
  const char* help;
  Type type;
};

template <class T>
struct Held {
  std::shared_ptr<T> series;
  Clock::time_point used;  // last looked up, or last seen in somebody's hands
};

struct FamilyCells {
  Descriptor descriptor;
  std::unordered_map<Labels, Held<Cell>> cells;
  std::unordered_map<Labels, Held<Histogram>> histograms;
};

// One thread's series. The mutex is that thread's alone but for a scrape: no worker waits for another.
struct Table {
  std::mutex mutex;
  std::unordered_map<Labels, Held<TcpSeries>> tcp;
  std::unordered_map<Labels, Held<HttpSeries>> http;
  std::unordered_map<std::string_view, FamilyCells> families;  // keys are the literals
  std::size_t size = 0;
  std::size_t overflows = 0;
};

// Removes what nobody holds and nobody asked for since `before`; counts what goes.
template <class Map>
void drop_idle(Map& map, Clock::time_point now, Clock::time_point before, std::size_t& size) {
  for (auto it = map.begin(); it != map.end();) {
    if (it->second.series.use_count() > 1) it->second.used = now;
    if (it->second.used < before) {
      it = map.erase(it);
      --size;
    } else {
      ++it;
    }
  }
}

void expose_tcp(Exposition& out, const Labels& labels, const TcpSeries& s) {
  out.add("tcp_open_total", "Connections opened", Type::counter, labels, s.open_total.get());
  out.add("tcp_open_connections", "Connections open now", Type::gauge, labels, s.open_connections.get());
  out.add("tcp_close_total", "Connections closed", Type::counter, labels, s.close_total.get());
  out.add("tcp_read_bytes_total", "Bytes read from peers", Type::counter, labels, s.read_bytes.get());
  out.add("tcp_write_bytes_total", "Bytes written to peers", Type::counter, labels, s.write_bytes.get());
}

void expose_http(Exposition& out, const Labels& labels, const HttpSeries& s) {
  out.add("request_total", "HTTP requests", Type::counter, labels, s.requests.get());
  out.add("response_latency_ms", "Time from a request's first byte to its response's, in milliseconds",
          labels, s.latency_ms);
  for (const auto* r = s.responses(); r; r = r->next) {
    Labels all = join_labels(labels, render_label("classification", r->success ? "success" : "failure"));
    all = join_labels(all, render_label("status_code", std::to_string(r->status)));
    if (r->grpc_status >= 0)
      all = join_labels(all, render_label("grpc_status_code", std::to_string(r->grpc_status)));
    if (!r->error.empty()) all = join_labels(all, render_label("error", r->error));
    out.add("response_total", "HTTP responses", Type::counter, all, r->count.get());
  }
}

}  // namespace

struct MetricsRegistry::Impl {
  explicit Impl(Settings s) : settings(s) {}
  const Settings settings;
  std::mutex mutex;   // of the two lists
  std::mutex scrape;  // held by the one scrape that runs
  std::vector<std::shared_ptr<Table>> tables;
  std::vector<std::function<std::string(Format)>> collectors;
  std::set<const Recorder*> recorders;  // whose collectors are among them
};

namespace {

// The Telemetry of one thread over its Table.
class ThreadTelemetry final : public Telemetry {
 public:
  ThreadTelemetry(std::shared_ptr<Table> table, std::size_t max_series, Recorder* recorder)
      : table_(std::move(table)), max_series_(max_series), recorder_(recorder) {
    if (recorder_) queue_ = recorder_->make_queue();
  }

  std::shared_ptr<TcpSeries> tcp(const Labels& labels) override {
    const std::lock_guard lock(table_->mutex);
    return find<TcpSeries>(table_->tcp, labels, [] { return std::make_shared<TcpSeries>(); });
  }
  std::shared_ptr<HttpSeries> http(const Labels& labels) override {
    const std::lock_guard lock(table_->mutex);
    return find<HttpSeries>(table_->http, labels, [] { return std::make_shared<HttpSeries>(); });
  }
  std::shared_ptr<Cell> counter(const char* name, const char* help, const Labels& labels) override {
    return cell({name, help, Type::counter}, labels);
  }
  std::shared_ptr<Cell> gauge(const char* name, const char* help, const Labels& labels) override {
    return cell({name, help, Type::gauge}, labels);
  }
  std::shared_ptr<Histogram> histogram(const char* name, const char* help, const std::vector<double>& bounds,
                                       const Labels& labels) override {
    const std::lock_guard lock(table_->mutex);
    return find<Histogram>(family({name, help, Type::histogram}).histograms, labels,
                           [&] { return std::make_shared<Histogram>(bounds); });
  }

  bool recording() const override { return recorder_ && recorder_->recording(); }
  void record(const TrafficRecord& record) override {
    if (recording()) queue_->push(record);
  }

 private:
  std::shared_ptr<Cell> cell(const Descriptor& descriptor, const Labels& labels) {
    const std::lock_guard lock(table_->mutex);
    return find<Cell>(family(descriptor).cells, labels, [] { return std::make_shared<Cell>(); });
  }
  FamilyCells& family(const Descriptor& descriptor) {
    return table_->families.try_emplace(descriptor.name, FamilyCells{descriptor, {}, {}}).first->second;
  }

  template <class T, class Map, class Make>
  std::shared_ptr<T> find(Map& map, const Labels& labels, Make make) {
    const auto now = Clock::now();
    auto it = map.find(labels);
    if (it == map.end()) {
      if (Labels unique = unique_labels(labels); unique != labels) return find<T>(map, unique, make);
      static const Labels overflow = render_label("overflow", "true");
      const bool full = table_->size >= max_series_ && labels != overflow;
      if (full) {
        ++table_->overflows;
        return find<T>(map, overflow, make);
      }
      it = map.emplace(labels, Held<T>{make(), now}).first;
      ++table_->size;
    }
    it->second.used = now;
    return it->second.series;
  }

  std::shared_ptr<Table> table_;
  const std::size_t max_series_;
  Recorder* recorder_;
  std::unique_ptr<Recorder::Queue> queue_;
};

// When each label set was last used by any thread, so that a sum over threads never shrinks because one of
// them has been idle for longer than the others.
using LastUse = std::map<std::pair<std::string_view, std::string_view>, Clock::time_point>;

template <class Map>
void collect_use(Map& map, Clock::time_point now, std::string_view family, LastUse& last) {
  for (auto& [labels, held] : map) {
    if (held.series.use_count() > 1) held.used = now;
    auto& at = last[{family, labels}];
    at = std::max(at, held.used);
  }
}

template <class Map>
void share_use(Map& map, std::string_view family, const LastUse& last) {
  for (auto& [labels, held] : map) {
    const auto it = last.find({family, labels});
    if (it != last.end()) held.used = std::max(held.used, it->second);
  }
}

}  // namespace

MetricsRegistry::MetricsRegistry() : MetricsRegistry(Settings{}) {}
MetricsRegistry::MetricsRegistry(Settings settings) : impl_(std::make_shared<Impl>(settings)) {}
MetricsRegistry::~MetricsRegistry() = default;

std::unique_ptr<Telemetry> MetricsRegistry::make_telemetry(Recorder* recorder) {
  auto table = std::make_shared<Table>();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->tables.push_back(table);
    if (recorder && impl_->recorders.insert(recorder).second)
      impl_->collectors.push_back(recorder->collector());
  }
  return std::make_unique<ThreadTelemetry>(std::move(table), impl_->settings.max_series, recorder);
}

void MetricsRegistry::add_collector(std::function<std::string(Format)> collector) {
  const std::lock_guard lock(impl_->mutex);
  impl_->collectors.push_back(std::move(collector));
}

std::string MetricsRegistry::expose(Format format) {
  return expose(format, Clock::now());
}

std::string MetricsRegistry::expose(Format format, Clock::time_point now) {
  std::vector<std::shared_ptr<Table>> tables;
  std::vector<std::function<std::string(Format)>> collectors;
  {
    const std::lock_guard lock(impl_->mutex);
    tables = impl_->tables;
    collectors = impl_->collectors;
  }
  const auto before = now - impl_->settings.idle;
  // The views in `last` stay valid: series are removed by this function only, and only one scrape runs at a
  // time.
  const std::lock_guard one_scrape(impl_->scrape);
  LastUse last;
  for (auto& table : tables) {
    const std::lock_guard lock(table->mutex);
    collect_use(table->tcp, now, "tcp", last);
    collect_use(table->http, now, "http", last);
    for (auto& [name, family] : table->families) {
      collect_use(family.cells, now, name, last);
      collect_use(family.histograms, now, name, last);
    }
  }
  // All of it is applied before anything is removed.
  for (auto& table : tables) {
    const std::lock_guard lock(table->mutex);
    share_use(table->tcp, "tcp", last);
    share_use(table->http, "http", last);
    for (auto& [name, family] : table->families) {
      share_use(family.cells, name, last);
      share_use(family.histograms, name, last);
    }
  }
  Exposition out;
  std::size_t series = 0;
  std::size_t overflows = 0;
  for (auto& table : tables) {
    const std::lock_guard lock(table->mutex);
    drop_idle(table->tcp, now, before, table->size);
    drop_idle(table->http, now, before, table->size);
    for (auto& [labels, held] : table->tcp) expose_tcp(out, labels, *held.series);
    for (auto& [labels, held] : table->http) expose_http(out, labels, *held.series);
    for (auto& [name, family] : table->families) {
      drop_idle(family.cells, now, before, table->size);
      drop_idle(family.histograms, now, before, table->size);
      const auto& d = family.descriptor;
      for (auto& [labels, held] : family.cells) out.add(d.name, d.help, d.type, labels, held.series->get());
      for (auto& [labels, held] : family.histograms) out.add(d.name, d.help, labels, *held.series);
    }
    series += table->size;
    overflows += table->overflows;
  }
  out.add("proxy_build_info", "The proxy's build", Type::gauge, render_label("version", HEDDLE_VERSION), 1);
  out.add("proxy_metrics_series", "Label sets kept for metrics, over all threads", Type::gauge, "", series);
  out.add("proxy_metrics_series_overflow_total", "Look-ups that got the overflow series", Type::counter, "",
          overflows);
  std::string text = out.write(format);
  for (const auto& collector : collectors) text.append(collector(format));
  text.append(process_metrics(format));
  if (format == Format::open_metrics) text.append("# EOF\n");
  return text;
}

}  // namespace heddle::proxy
