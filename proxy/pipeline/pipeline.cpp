// SPDX-License-Identifier: Apache-2.0
#include "proxy/pipeline/pipeline.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "proxy/pipeline/tcp_labels.h"
#include "proxy/telemetry/detection.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

// After an early dial failed: how long the client may still turn out to speak HTTP, which gets a proper
// answer.
constexpr std::chrono::milliseconds failed_dial_grace{1000};

std::chrono::milliseconds until(Loop::Clock::time_point then, Loop::Clock::time_point now) {
  return std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(then - now));
}

}  // namespace

Pipeline::Pipeline(Worker& worker, PodRef owner, SocketAddress client, std::unique_ptr<Stream> stream)
    : Connection(std::move(owner)),
      worker_(worker),
      client_address_(client),
      began_(worker.loop.now()),
      client_(std::move(stream)) {
  upstream_events_.pipeline = this;
  client_->set_events(this);
}

Pipeline::~Pipeline() {
  if (client_) client_->set_events(nullptr);
  if (upstream_ && upstream_->stream) upstream_->stream->set_events(nullptr);
  for (TcpSeries* series : {client_series_.get(), upstream_series_.get()}) {
    if (series == nullptr) continue;
    series->open_connections.sub(1);
    series->close_total.add(1);
  }
}

void Pipeline::listen(std::chrono::milliseconds early_dial) {
  state_ = State::listening;
  deadline_ = began_ + worker_.settings.detect_timeout;
  timer_ = std::make_unique<Timer>(worker_.loop, [this] { silence(); });
  hear_client();
  if (state_ == State::listening) timer_->arm(early_dial);
}

void Pipeline::await_bytes(std::chrono::milliseconds patience) {
  opaque_ = true;
  listen(patience);
}

void Pipeline::on_readable() {
  if (state_ == State::listening) hear_client();
}

void Pipeline::hear_client() {
  while (state_ == State::listening) {
    const std::size_t room = std::min(worker_.scratch.size(), max_detect_bytes - heard_.size());
    const IoResult got = client_->read(std::span(worker_.scratch).first(room));
    if (got.status == IoStatus::would_block) return;
    if (got.status == IoStatus::error) {
      drop_upstream();
      leave();
      return;
    }
    const bool ended = got.status == IoStatus::eof;
    const auto bytes = std::span<const std::byte>(worker_.scratch).first(got.size);
    if (judge(bytes, ended) || ended) return;
  }
}

// Looks at what was heard so far together with `bytes`; true when it is decided.
bool Pipeline::judge(std::span<const std::byte> bytes, bool ended) {
  // Kept: whoever takes over gets it back.
  heard_.insert(heard_.end(), bytes.begin(), bytes.end());
  if (opaque_) {
    go_opaque();
    return true;
  }
  const auto detected = detect(heard_, ended);
  if (!detected) return false;
  timer_.reset();
  state_ = State::idle;
  count_detection(*worker_.telemetry, describe().direction, to_string(detected->protocol),
                  Loop::Clock::now() - began_);
  client_spoke(*detected);
  return true;
}

// The timer while listening: first it opens the upstream, then it ends the wait.
void Pipeline::silence() {
  if (state_ != State::listening) return;
  if (opaque_) return go_opaque();
  const auto now = worker_.loop.now();
  if (now >= deadline_) {
    state_ = State::idle;
    if (early_failed_) return refuse("connect");
    count_detection(*worker_.telemetry, describe().direction, "timeout", now - began_);
    return nobody_spoke();
  }
  if (upstream_) return hear_upstream();  // a greeting was held back
  if (!opening_ && !early_failed_ && !polite_ && may_open_early()) open();
  timer_->arm(until(deadline_, now));
}

void Pipeline::open() {
  opening_ = open_upstream([this](Result<Upstream> result) { opened(std::move(result)); });
}

void Pipeline::opened(Result<Upstream> result) {
  // The opener is in the middle of its call: it goes when that returned.
  worker_.loop.defer([keep = std::shared_ptr<Opening>(std::move(opening_))] {});
  if (!result) return open_failed(result.error());
  upstream_.emplace(std::move(*result));
  if (state_ == State::opening) return relay();
  if (state_ != State::listening) return;
  upstream_->stream->set_events(&upstream_events_);
  hear_upstream();
}

void Pipeline::open_failed(const Error& error) {
  spdlog::debug("no upstream pod={}/{} client={} error=\"{}\"", pod->ns, pod->name,
                client_address_.to_string(), error.message());
  if (state_ == State::opening) return refuse("connect");
  if (state_ != State::listening) return;
  early_failed_ = true;
  deadline_ = std::min(deadline_, worker_.loop.now() + failed_dial_grace);
  timer_->arm(until(deadline_, worker_.loop.now()));
}

void Pipeline::hear_upstream() {
  if (state_ != State::listening || !upstream_) return;
  const auto now = worker_.loop.now();
  const auto free_at = began_ + hold_greeting();
  if (now < free_at) {
    timer_->arm(until(free_at, now));
    return;
  }
  timer_->arm(until(deadline_, now));
  const IoResult got = upstream_->stream->read(worker_.scratch);
  if (got.status == IoStatus::would_block) return;
  if (got.status == IoStatus::ok && is_http2_server(std::span(worker_.scratch).first(got.size))) {
    polite_ = true;
    return drop_upstream();
  }
  if (got.status == IoStatus::ok) {
    server_word_.assign(worker_.scratch.begin(),
                        worker_.scratch.begin() + static_cast<std::ptrdiff_t>(got.size));
    count_detection(*worker_.telemetry, describe().direction, "server_first", now - began_);
    server_spoke();
  }
  // An end or a reset is the server's word as well: the relay reads it again and passes it on.
  state_ = State::idle;
  go_opaque();
}

void Pipeline::go_opaque() {
  timer_.reset();
  state_ = State::opening;
  if (upstream_) return relay();
  if (early_failed_) return refuse("connect");
  if (!opening_) open();
}

std::unique_ptr<Stream> Pipeline::hand_over_client() {
  drop_upstream();
  timer_.reset();
  client_->set_events(nullptr);
  auto stream = with_prefix(worker_.loop, std::move(client_), heard_);
  heard_ = {};
  return stream;
}

void Pipeline::replace_client(std::unique_ptr<Stream> stream) {
  client_ = std::move(stream);
  client_->set_events(this);
  // What failed before was for a client of whom less was known.
  early_failed_ = false;
}

void Pipeline::drop_upstream() {
  opening_.reset();
  if (!upstream_ || !upstream_->stream) return;  // none, or the relay has it
  upstream_->stream->set_events(nullptr);
  upstream_->stream->reset();
  upstream_.reset();
}

Pipeline::SeriesPair Pipeline::find_series(const Upstream& upstream) {
  return {worker_.telemetry->tcp(client_labels()), worker_.telemetry->tcp(upstream_labels(upstream))};
}

void Pipeline::relay() {
  state_ = State::relaying;
  Relay::Options options;
  options.pod = pod;
  options.half_closed_timeout = worker_.settings.half_closed_timeout;
  if (worker_.telemetry) {
    SeriesPair found = find_series(*upstream_);
    client_series_ = std::move(found.client);
    upstream_series_ = std::move(found.upstream);
    for (TcpSeries* series : {client_series_.get(), upstream_series_.get()}) {
      series->open_total.add(1);
      series->open_connections.add(1);
    }
  }
  options.client_series = client_series_;
  options.upstream_series = upstream_series_;
  upstream_->stream->set_events(nullptr);
  relay_ = std::make_unique<Relay>(worker_, std::move(client_), std::move(upstream_->stream),
                                   std::move(options), [this](const RelayEnd& end) { ended(end); });
  const auto from_client = std::move(heard_);
  const auto from_server = std::move(server_word_);
  heard_ = {};
  server_word_ = {};
  relay_->start(from_client, from_server);
}

void Pipeline::ended(const RelayEnd& end) {
  if (*end.error != '\0') {
    spdlog::debug("connection reset pod={}/{} client={} endpoint={} reason=\"{}\" bytes_in={} bytes_out={}",
                  pod->ns, pod->name, client_address_.to_string(), upstream_->address.to_string(), end.error,
                  end.from_client, end.to_client);
  }
  if (end.from_client + end.to_client > 0) bytes_ended(end.client_first);
  if (worker_.telemetry && worker_.telemetry->recording()) {
    TrafficRecord record = describe();
    record.pod = pod;
    record.client = client_address_;
    record.endpoint = upstream_->address;
    record.bytes_in = end.from_client;
    record.bytes_out = end.to_client;
    record.duration = std::chrono::duration_cast<std::chrono::microseconds>(worker_.loop.now() - began_);
    record.error = end.error;
    worker_.telemetry->record(record);
  }
  leave();
}

void Pipeline::refuse(const char* reason) {
  if (state_ == State::over) return;
  spdlog::debug("connection reset pod={}/{} client={} reason=\"{}\"", pod->ns, pod->name,
                client_address_.to_string(), reason);
  if (worker_.telemetry) {
    const bool outbound = describe().direction == Direction::outbound;
    Labels labels = render_label("namespace", pod->ns);
    add_label(labels, "pod", pod->name);
    add_label(labels, "error", reason);
    worker_.telemetry
        ->counter(outbound ? "outbound_tcp_errors_total" : "inbound_tcp_errors_total",
                  "TCP connections that were reset, by reason.", labels)
        ->add(1);
  }
  abort();
}

void Pipeline::abort() {
  if (state_ == State::over) return;
  drop_upstream();
  if (relay_) relay_->abort();
  if (client_) client_->reset();
  leave();
}

void Pipeline::leave() {
  if (state_ == State::over) return;
  state_ = State::over;
  timer_.reset();
  worker_.connections->done(*this);
}

}  // namespace heddle::proxy
