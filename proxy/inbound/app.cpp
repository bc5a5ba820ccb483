// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/app.h"

#include "proxy/inbound/audit.h"
#include "proxy/pipeline/tcp_labels.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

class AppOpening final : public Opening {
 public:
  AppOpening(Worker& worker, const InboundConnection& connection, OpenDone done)
      : worker_(worker),
        address_(connection.original_dst),
        done_(std::move(done)),
        self_(std::make_shared<AppOpening*>(this)) {
    const Decision decision = authorize(connection);
    if (!decision.allowed) {
      deny(decision);
      return;
    }
    DialRequest request{connection.pod, address_, connection.client, worker.settings.inbound_connect_timeout};
    dial_ = worker.dialer->dial(std::move(request), [this](Result<std::unique_ptr<Stream>> result) {
      const OpenDone receiver = std::move(done_);
      if (!result) return receiver(result.error());
      Upstream upstream;
      upstream.stream = std::move(*result);
      upstream.address = address_;
      receiver(std::move(upstream));
    });
  }
  ~AppOpening() override { *self_ = nullptr; }

 private:
  void deny(const Decision& decision) {
    worker_.loop.defer([self = self_, reason = decision.reason] {
      if (*self == nullptr) return;
      const OpenDone receiver = std::move((*self)->done_);
      receiver(make_error(Errc::permission_denied, reason));
    });
  }

  Worker& worker_;
  const SocketAddress address_;
  OpenDone done_;
  std::unique_ptr<Dialer::Pending> dial_;
  std::shared_ptr<AppOpening*> self_;
};

}  // namespace

std::unique_ptr<Opening> open_app(Worker& worker, const InboundConnection& connection, OpenDone done) {
  return std::make_unique<AppOpening>(worker, connection, std::move(done));
}

void count_decision(Worker& worker, const InboundConnection& connection) {
  const Decision decision = authorize(connection);
  if (decision.audited) log_audited(connection, decision);
  if (!worker.telemetry) return;
  Labels labels = render_label("namespace", connection.pod->ns);
  add_label(labels, "pod", connection.pod->name);
  add_label(labels, "authz_name", decision.rule);
  add_label(labels, "client_id", connection.peer_identity);
  worker.telemetry
      ->counter(decision.allowed ? "inbound_tcp_authz_allow_total" : "inbound_tcp_authz_deny_total",
                "Connections that the inbound policy allowed or denied.", labels)
      ->add(1);
}

}  // namespace heddle::proxy
