// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/app.h"
#include "proxy/inbound/inbound.h"
#include "proxy/inbound/inbound_labels.h"
#include "proxy/pipeline/pipeline.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

// Bytes whose client is known: the far end of a tunnel.
class InboundBytes final : public Pipeline {
 public:
  InboundBytes(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream)
      : Pipeline(worker, connection.pod, connection.client, std::move(stream)),
        connection_(std::move(connection)) {}
  void policy_changed(const PodRef& now) override {
    if (now->id != pod->id) return;
    connection_.pod = now;
    if (!authorize(connection_).allowed) refuse("policy");
  }
  void begin() {
    count_decision(worker_, connection_);
    go_opaque();
  }

 private:
  void client_spoke(const Detected&) override { go_opaque(); }
  std::unique_ptr<Opening> open_upstream(OpenDone done) override {
    return open_app(worker_, connection_, std::move(done));
  }
  Labels client_labels() const override { return inbound_client_labels(connection_); }
  Labels upstream_labels(const Upstream&) const override { return inbound_app_labels(connection_); }
  TrafficRecord describe() const override { return inbound_record(connection_, "opaque"); }

  InboundConnection connection_;
};

}  // namespace

void serve_inbound_opaque(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream) {
  auto bytes = std::make_unique<InboundBytes>(worker, std::move(connection), std::move(stream));
  InboundBytes& running = *bytes;
  if (worker.connections->adopt(std::move(bytes))) running.begin();
}

}  // namespace heddle::proxy
