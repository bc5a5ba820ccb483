// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/http_connection.h"

#include "base/log.h"
#include "proxy/worker.h"

namespace heddle::proxy {

HttpConnection::~HttpConnection() {
  if (codec_) codec_->abort();
  if (relay_) relay_->abort();
}

void HttpConnection::begin_h1(std::unique_ptr<Stream> stream) {
  codec_ = http::make_h1_server(worker_.http_pool->engine(), std::move(stream), *this, *this,
                                worker_.budget(*pod));
  tell_of_drain();
}

void HttpConnection::begin_h2(std::unique_ptr<Stream> stream, const http::H2Settings& settings,
                              http::TunnelHandler* tunnels) {
  codec_ = http::make_h2_server(worker_.http_pool->engine(), std::move(stream), *this, *this, settings,
                                tunnels, worker_.budget(*pod));
  tell_of_drain();
}

// It was still being detected when the drain began.
void HttpConnection::tell_of_drain() {
  if (worker_.draining || pod->load->leaving) codec_->drain();
  if (worker_.idle_ends) codec_->end_idle();
}

void HttpConnection::drain() {
  if (codec_) codec_->drain();
}

void HttpConnection::end_idle() {
  if (codec_) codec_->end_idle();
}

void HttpConnection::abort() {
  if (codec_) codec_->abort();
  if (relay_) relay_->abort();
  worker_.connections->done(*this);
}

void HttpConnection::server_closed() {
  worker_.connections->done(*this);
}

void HttpConnection::server_switched(std::unique_ptr<Stream> downstream, std::unique_ptr<Stream> upstream) {
  Relay::Options options;
  options.pod = pod;
  options.half_closed_timeout = worker_.settings.half_closed_timeout;
  relay_ = std::make_unique<Relay>(worker_, std::move(downstream), std::move(upstream), std::move(options),
                                   [this](const RelayEnd& end) {
                                     if (*end.error != '\0') {
                                       spdlog::debug(
                                           "http: connection reset after a switch of protocols "
                                           "pod={}/{} reason=\"{}\" bytes_in={} bytes_out={}",
                                           pod->ns, pod->name, end.error, end.from_client, end.to_client);
                                     }
                                     worker_.connections->done(*this);
                                   });
  relay_->start({}, {});
}

}  // namespace heddle::proxy
