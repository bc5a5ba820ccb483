// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/objects.h"

#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

bool is_v6(const std::string& ip) {
  return ip.find(':') != std::string::npos;
}

json::object condition(const char* type, bool status) {
  return {{"type", type}, {"status", status ? "True" : "False"}};
}

json::object endpoint(const LabPod& pod, const LabPodStatus& status, const std::string& ip,
                      bool publish_not_ready) {
  return {{"addresses", json::array{json::value(ip)}},
          {"conditions",
           {{"ready", status.ready || publish_not_ready}, {"serving", status.ready}, {"terminating", false}}},
          {"nodeName", pod.node},
          {"targetRef", {{"kind", "Pod"}, {"namespace", pod.ns}, {"name", pod.name}, {"uid", pod.uid}}}};
}

using PodStates = std::vector<std::pair<const LabPod*, LabPodStatus>>;

}  // namespace

json::object pod_with_status(const LabPod& pod, const LabPodStatus& status) {
  json::object out = pod.object;
  json::array ips;
  for (const auto& ip : status.ips) ips.push_back(json::object{{"ip", ip}});
  json::object state{
      {"phase", status.phase},
      {"hostIP", status.host_ip},
      {"conditions",
       json::array{condition("PodScheduled", true), condition("Initialized", true),
                   condition("ContainersReady", status.ready), condition("Ready", status.ready)}}};
  if (!ips.empty()) {
    state["podIP"] = status.ips.front();
    state["podIPs"] = std::move(ips);
  }
  if (!status.started.empty()) state["startTime"] = status.started;
  out["status"] = std::move(state);
  return out;
}

std::uint16_t target_port(const LabServicePort& port, const LabPod& pod) {
  if (port.target_name.empty()) return port.target;
  for (const auto& container : pod.containers) {
    if (const auto found = container.ports.find(port.target_name); found != container.ports.end())
      return found->second;
  }
  return 0;
}

std::vector<json::object> endpoint_slices(const LabService& service, const PodStates& pods) {
  std::vector<json::object> out;
  if (service.selector.empty()) return out;
  for (const bool v6 : {false, true}) {
    if (v6 && !service.ipv6) continue;
    json::array endpoints;
    json::array ports;
    for (const auto& [pod, status] : pods) {
      if (pod->ns != service.ns || status.phase != "Running" || !selects(service.selector, pod->labels))
        continue;
      for (const auto& ip : status.ips) {
        if (is_v6(ip) != v6) continue;
        endpoints.push_back(endpoint(*pod, status, ip, service.publish_not_ready));
        // Ports come from the first pod: a lab's replicas are alike, unlike Kubernetes' we never need two
        // slices.
        if (!ports.empty()) break;
        for (const auto& port : service.ports) {
          json::object spec{
              {"name", port.name}, {"port", target_port(port, *pod)}, {"protocol", port.protocol}};
          if (!port.app_protocol.empty()) spec["appProtocol"] = port.app_protocol;
          ports.push_back(std::move(spec));
        }
        break;
      }
    }
    const auto name = service.name + (v6 ? "-v6" : "-v4");
    out.push_back({{"apiVersion", "discovery.k8s.io/v1"},
                   {"kind", "EndpointSlice"},
                   {"metadata",
                    {{"name", name},
                     {"namespace", service.ns},
                     {"uid", stable_uid("EndpointSlice", service.ns, name)},
                     {"labels", {{"kubernetes.io/service-name", service.name}}}}},
                   {"addressType", v6 ? "IPv6" : "IPv4"},
                   {"endpoints", std::move(endpoints)},
                   {"ports", std::move(ports)}});
  }
  return out;
}

std::string hosts_file(const LabPlan& plan, const std::string& ns) {
  std::string out = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n";
  for (const auto& service : plan.services) {
    for (const auto& ip : service.cluster_ips) {
      const auto qualified = service.name + "." + service.ns;
      out += ip + " " + qualified + ".svc.cluster.local " + qualified + ".svc " + qualified;
      if (service.ns == ns) out += " " + service.name;
      out += "\n";
    }
  }
  return out;
}

std::string service_rules(const LabPlan& plan, const PodStates& pods) {
  std::string rules;
  for (const auto& service : plan.services) {
    for (const auto& ip : service.cluster_ips) {
      for (const auto& port : service.ports) {
        if (port.protocol != "TCP") continue;
        std::vector<std::string> targets;
        for (const auto& [pod, status] : pods) {
          const auto target = target_port(port, *pod);
          if (pod->ns != service.ns || !status.ready || target == 0 ||
              !selects(service.selector, pod->labels))
            continue;
          for (const auto& pod_ip : status.ips) {
            if (is_v6(pod_ip) == is_v6(ip)) targets.push_back(pod_ip + " . " + std::to_string(target));
          }
        }
        if (targets.empty()) continue;
        const std::string family = is_v6(ip) ? "ip6" : "ip";
        rules += "  " + family + " daddr " + ip + " tcp dport " + std::to_string(port.port) + " dnat " +
                 family + " to numgen random mod " + std::to_string(targets.size()) + " map {";
        for (std::size_t i = 0; i < targets.size(); ++i)
          rules += (i ? ", " : " ") + std::to_string(i) + " : " + targets[i];
        rules += " }\n";
      }
    }
  }
  const std::string table = "table inet heddle_lab_services";
  std::string out = table + "\ndelete " + table + "\n" + table + " {\n";
  for (const auto* hook : {"prerouting", "output"}) {
    out += std::string(" chain ") + hook + " {\n  type nat hook " + hook +
           " priority -100; policy accept;\n" + rules + " }\n";
  }
  // A pod that reaches itself through its own service's address: replies must come back this way.
  out +=
      " chain postrouting {\n  type nat hook postrouting priority 100; policy accept;\n"
      "  ct status dnat iifname \"cni0\" oifname \"cni0\" masquerade\n }\n}\n";
  return out;
}

}  // namespace heddle::tools
