// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/detection.h"

namespace heddle::proxy {

void count_detection(Telemetry& telemetry, Direction direction, std::string_view result,
                     std::chrono::nanoseconds took) {
  static const std::vector<double> bounds{0.001, 0.01, 0.1, 1, 10};
  const bool inbound = direction == Direction::inbound;
  telemetry
      .counter(inbound ? "inbound_tcp_detect_results_total" : "outbound_tcp_detect_results_total",
               "Connections by how their protocol was detected", render_label("result", result))
      ->add(1);
  telemetry
      .histogram(inbound ? "inbound_tcp_detect_duration_seconds" : "outbound_tcp_detect_duration_seconds",
                 "Time from accepting a connection to knowing its protocol", bounds, "")
      ->observe(std::chrono::duration<double>(took).count());
  const bool spoken = result == "http/1" || result == "http/2" || result == "tls";
  telemetry
      .counter(inbound ? "inbound_tcp_protocol_connections_total" : "outbound_tcp_protocol_connections_total",
               "Connections by protocol, as detected", render_label("protocol", spoken ? result : "opaque"))
      ->add(1);
}

}  // namespace heddle::proxy
