// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/audit.h"

#include "base/log.h"
#include "proxy/inbound/inbound_labels.h"
#include "proxy/inbound/line_limit.h"

namespace heddle::proxy {
namespace {

constexpr std::uint32_t lines_a_second = 10;

}  // namespace

void log_audited(const InboundConnection& connection, const Decision& decision) {
  thread_local LineLimit limit(lines_a_second);
  const auto left_out = limit.admit(std::chrono::steady_clock::now());
  if (!left_out) return;
  spdlog::info("policy audit: let in pod={}/{} port={} client={} client_id={} tls={} authz={} left_out={}",
               connection.pod->ns, connection.pod->name, connection.original_dst.port,
               connection.client.to_string(),
               connection.peer_identity.empty() ? "none" : connection.peer_identity,
               tls_label(connection.tls), decision.rule, *left_out);
}

}  // namespace heddle::proxy
