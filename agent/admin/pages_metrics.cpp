// SPDX-License-Identifier: Apache-2.0
#include "agent/admin/pages.h"
#include "agent/version.h"

namespace heddle::agent {

void AdminPages::pod_metrics(MetricsText& text) {
  std::map<std::string, std::uint64_t> modes{{"ebpf", 0}, {"iptables", 0}, {"none", 0}};
  std::uint64_t failing = 0;
  std::uint64_t waiting = 0;
  for (const auto& [id, sandbox] : subjects_.enrolment.registry().all()) {
    ++modes[sandbox.spec.meshed ? std::string(to_string(sandbox.mode)) : "none"];
    failing += sandbox.failure.empty() ? 0 : 1;
    waiting += sandbox.spec.meshed && !subjects_.links.acknowledged(sandbox.pod_id) ? 1 : 0;
  }
  text.family("heddle_agent_pods", "gauge",
              "Sandboxes known, by how they are intercepted (none: not meshed).");
  for (const auto& [mode, count] : modes) text.sample({{"mode", mode}}, count);
  text.family("heddle_agent_pods_failing", "gauge",
              "Sandboxes that are not what they shall be; tried again.");
  text.sample({}, failing);
  text.family("heddle_agent_pods_waiting_for_proxy", "gauge",
              "Meshed pods that the active proxy has not acknowledged.");
  text.sample({}, waiting);

  const auto& totals = subjects_.enrolment.totals();
  text.family("heddle_agent_enrolments_total", "counter", "ADDs of meshed pods, by result.");
  text.sample({{"result", "ok"}}, totals.enrolled);
  text.sample({{"result", "error"}}, totals.failed);
  text.family("heddle_agent_enrolment_duration_seconds", "histogram",
              "From the plugin's request to the agent's reply, for pods that were meshed.");
  text.histogram(enrolment_);
  text.family("heddle_agent_releases_total", "counter", "Sandboxes released.");
  text.sample({}, totals.released);
  text.family("heddle_agent_abandoned_total", "counter",
              "Sandboxes released because their netns died without a DEL.");
  text.sample({}, totals.abandoned);
  text.family("heddle_agent_repairs_total", "counter", "Pods whose interception was found incomplete.");
  text.sample({}, totals.repaired);
  text.family("heddle_agent_rule_checks_total", "counter",
              "Looks at the nat rules of pods: unchanged since the last, intact after a change, repaired.");
  text.sample({{"result", "unchanged"}}, totals.rules_unchanged);
  text.sample({{"result", "intact"}}, totals.rules_intact);
  text.sample({{"result", "repaired"}}, totals.rules_repaired);
  text.family("heddle_agent_cni_requests_total", "counter",
              "CNI commands answered, by command and code (0: done).");
  for (const auto& [key, count] : cni_) {
    text.sample({{"command", key.first}, {"code", std::to_string(key.second)}}, count);
  }
  text.family("heddle_interception_verdicts_total", "counter",
              "What the hooks decided for connections of a pod.");
  const Datapath* datapath = subjects_.interception.datapath();
  if (datapath == nullptr) return;
  const auto counts_of = [&](std::uint32_t pod_id, const std::string& ns, const std::string& name) {
    const auto counts = datapath->counts(pod_id);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      text.sample({{"pod_id", std::to_string(pod_id)},
                   {"namespace", ns},
                   {"pod", name},
                   {"verdict", verdict_name(static_cast<heddle_verdict>(i))}},
                  counts[i]);
    }
  };
  counts_of(0, "", "");
  for (const auto& [id, sandbox] : subjects_.enrolment.registry().all()) {
    if (sandbox.spec.meshed && sandbox.mode == Mode::ebpf)
      counts_of(sandbox.pod_id, sandbox.spec.ns, sandbox.spec.name);
  }
}

void AdminPages::link_metrics(MetricsText& text) {
  const auto& links = subjects_.links.totals();
  std::map<std::string, std::uint64_t> states{
      {"greeting", 0}, {"snapshot", 0}, {"standby", 0}, {"active", 0}, {"draining", 0}};
  std::uint64_t queued = 0;
  for (const auto& proxy : subjects_.links.status()) {
    ++states[proxy.state];
    queued += proxy.queued;
  }
  text.family("heddle_agent_proxies", "gauge", "Proxies connected, by state of the conversation.");
  for (const auto& [state, count] : states) text.sample({{"state", state}}, count);
  text.family("heddle_agent_proxy_queued_messages", "gauge", "Messages that proxies have not taken yet.");
  text.sample({}, queued);
  text.family("heddle_agent_proxy_connections_total", "counter", "Connections to proxy.sock, by result.");
  text.sample({{"result", "accepted"}}, links.accepted);
  text.sample({{"result", "refused"}}, links.refused);
  text.family("heddle_agent_proxy_malformed_messages_total", "counter",
              "Messages of proxies that were refused.");
  text.sample({}, links.malformed);
  text.family("heddle_agent_proxy_acks_total", "counter",
              "Pods that proxies acknowledged, and what came instead.");
  text.sample({{"result", "ok"}}, links.acks - links.ack_errors);
  text.sample({{"result", "error"}}, links.ack_errors);
  text.sample({{"result", "timeout"}}, links.ack_timeouts);
  text.family("heddle_agent_broker_sockets_total", "counter", "Mesh sockets handed to proxies.");
  text.sample({}, links.sockets);
  text.family("heddle_agent_broker_errors_total", "counter", "Requests for sockets that could not be met.");
  text.sample({}, links.socket_errors);

  const auto& certificates = subjects_.certificates.totals();
  text.family("heddle_agent_certify_total", "counter", "Certificate requests of proxies, by result.");
  text.sample({{"result", "issued"}}, certificates.issued);
  text.sample({{"result", "refused"}}, certificates.refused);
  text.sample({{"result", "failed"}}, certificates.failed - certificates.refused);
  text.family("heddle_agent_certify_retries_total", "counter", "Calls of Certify that were tried again.");
  text.sample({}, certificates.retried);
  text.family("heddle_agent_certify_outstanding", "gauge", "Certificate requests without an answer.");
  text.sample({}, static_cast<std::uint64_t>(subjects_.certificates.outstanding()));
  if (subjects_.events == nullptr) return;
  const auto& events = subjects_.events->totals();
  text.family("heddle_agent_events_total", "counter", "Events about pods, by result.");
  text.sample({{"result", "written"}}, events.written);
  text.sample({{"result", "failed"}}, events.failed);
  text.sample({{"result", "dropped"}}, events.dropped);
}

std::string AdminPages::metrics() {
  MetricsText text;
  text.family("heddle_agent_build_info", "gauge", "Version of heddle-agent.");
  text.sample({{"version", version}, {"node", subjects_.node_name}}, std::uint64_t{1});
  text.family("process_start_time_seconds", "gauge", "Start of the process, in seconds since the epoch.");
  text.sample({}, started_unix_);
  text.family("heddle_agent_ready", "gauge", "1 when CNI requests are served.");
  text.sample({}, std::uint64_t{subjects_.ready ? 1u : 0u});
  text.family("heddle_agent_interception_info", "gauge", "How this node intercepts, and why.");
  text.sample({{"mode", std::string(to_string(subjects_.interception.node_choice().mode))},
               {"reason", subjects_.interception.node_choice().reason}},
              std::uint64_t{1});
  pod_metrics(text);
  link_metrics(text);
  text.family("heddle_agent_drops_total", "counter", "Connections that a hook refused and reported.");
  text.sample({}, subjects_.drops.total());
  text.family("heddle_agent_state_writes_total", "counter",
              "Writes of the state file; one may carry many changes.");
  text.sample({}, subjects_.store.writes());
  return text.take();
}

}  // namespace heddle::agent
