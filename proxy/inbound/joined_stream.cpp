// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/joined_stream.h"

#include "proxy/inbound/inbound_labels.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

// As outbound connections hold theirs (outbound.cpp).
constexpr std::chrono::seconds series_kept{60};
constexpr std::size_t most_series = 32;

struct SeriesPair {
  std::shared_ptr<TcpSeries> client, app;
};

SeriesPair find_series(Worker& worker, const PodRef& client, const InboundConnection& connection,
                       Destination& destination) {
  auto& known = destination.joined;
  const auto now = worker.loop.now();
  if (now - destination.joined_since > series_kept || known.size() >= most_series) known.clear();
  for (const KnownJoin& each : known) {
    if (each.client_pod == client && each.pod == connection.pod && each.address == connection.original_dst)
      return {each.client, each.app};
  }
  if (known.empty()) destination.joined_since = now;
  SeriesPair found{worker.telemetry->tcp(inbound_client_labels(connection)),
                   worker.telemetry->tcp(inbound_app_labels(connection))};
  known.push_back({client, connection.pod, connection.original_dst, found.client, found.app});
  return found;
}

class JoinedStream final : public Stream, private StreamEvents {
 public:
  JoinedStream(Worker& worker, InboundConnection connection, SeriesPair series, std::unique_ptr<Stream> app)
      : worker_(worker),
        connection_(std::move(connection)),
        series_(std::move(series)),
        began_(worker.loop.now()),
        app_(std::move(app)) {
    app_->set_events(this);
    for (TcpSeries* each : {series_.client.get(), series_.app.get()}) {
      each->open_total.add(1);
      each->open_connections.add(1);
    }
  }

  ~JoinedStream() override {
    app_->set_events(nullptr);
    for (TcpSeries* each : {series_.client.get(), series_.app.get()}) {
      each->open_connections.sub(1);
      each->close_total.add(1);
    }
    if (worker_.telemetry->recording()) record();
  }

  IoResult read(std::span<std::byte> into) override {
    const IoResult got = app_->read(into);
    if (got.status == IoStatus::ok) {
      series_.app->read_bytes.add(got.size);
      series_.client->write_bytes.add(got.size);
      to_client_ += got.size;
    } else if (got.status == IoStatus::error) {
      error_ = "upstream reset";
    }
    return got;
  }
  IoResult write(std::span<const iovec> data) override {
    const IoResult wrote = app_->write(data);
    if (wrote.status == IoStatus::ok) {
      series_.client->read_bytes.add(wrote.size);
      series_.app->write_bytes.add(wrote.size);
      from_client_ += wrote.size;
    } else if (wrote.status == IoStatus::error) {
      error_ = "upstream reset";
    }
    return wrote;
  }
  void finish_writes() override { app_->finish_writes(); }
  void reset() override {
    if (*error_ == '\0') error_ = "client reset";
    app_->reset();
  }
  std::size_t buffered() const override { return app_->buffered(); }
  int descriptor() const override { return app_->descriptor(); }

 private:
  void on_readable() override {
    if (events_ != nullptr) events_->on_readable();
  }
  void on_writable() override {
    if (events_ != nullptr) events_->on_writable();
  }
  void record() const {
    TrafficRecord record = inbound_record(connection_, "opaque");
    record.pod = connection_.pod;
    record.client = connection_.client;
    record.endpoint = connection_.original_dst;
    record.bytes_in = from_client_;
    record.bytes_out = to_client_;
    record.duration = std::chrono::duration_cast<std::chrono::microseconds>(worker_.loop.now() - began_);
    record.error = error_;
    worker_.telemetry->record(record);
  }

  Worker& worker_;
  const InboundConnection connection_;
  const SeriesPair series_;
  const Loop::Clock::time_point began_;
  std::uint64_t from_client_ = 0;
  std::uint64_t to_client_ = 0;
  const char* error_ = "";
  std::unique_ptr<Stream> app_;
};

}  // namespace

std::unique_ptr<Stream> count_join(Worker& worker, const PodRef& client, InboundConnection connection,
                                   Destination& destination, std::unique_ptr<Stream> app) {
  if (!worker.telemetry) return app;
  SeriesPair series = find_series(worker, client, connection, destination);
  return std::make_unique<JoinedStream>(worker, std::move(connection), std::move(series), std::move(app));
}

}  // namespace heddle::proxy
