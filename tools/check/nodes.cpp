// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

#include "tools/check/checks.h"
#include "tools/check/codes.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/bypass.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

void check_pods(Verdicts& out, const NodeView& view) {
  auto verified = view.get_json(AdminOf::agent, "/verify");
  if (!verified) return out.fail(check_code::pods, "pods", error_text(verified.error()));
  std::size_t good = 0;
  for (const auto& value : verified->at("pods").as_array()) {
    const auto& pod = value.as_object();
    const auto name = "pod " + text_at(pod, {"namespace"}) + "/" + text_at(pod, {"name"});
    if (text_at(pod, {"ok"}) != "true") {
      out.fail(check_code::pods, name, text_at(pod, {"missing"}));
    } else if (text_at(pod, {"proxy"}) != "acknowledged") {
      out.warn(check_code::pods, name, "redirected, but no proxy serves it yet: its connections wait");
    } else {
      ++good;
    }
  }
  out.ok(check_code::pods, "pods", std::to_string(good) + " redirected as planned and served");
  out.judge(text_at(*verified, {"proxy_active"}) == "true", check_code::proxy_link, "proxy linked",
            "to the agent", "no proxy is connected to the agent");
}

void check_certificates(Verdicts& out, const std::vector<Sample>& samples) {
  const auto now = static_cast<double>(std::time(nullptr));
  std::size_t valid = 0;
  double soonest = 0;
  for (const auto& sample : samples) {
    if (sample.name != "identity_cert_expiration_timestamp_seconds") continue;
    if (sample.value <= now) {
      out.fail(check_code::certificates, "certificate " + sample.label("identity"),
               sample.value <= 0 ? "none yet" : "expired");
      continue;
    }
    ++valid;
    soonest = soonest == 0 ? sample.value : std::min(soonest, sample.value);
  }
  if (valid > 0)
    out.ok(check_code::certificates, "certificates",
           std::to_string(valid) + " valid, the first ends in " + age_text(soonest - now));
}

// Connections between meshed pods that went in clear: the destination is a pod with an identity of this mesh.
void check_plaintext(Verdicts& out, const std::vector<Sample>& samples,
                     const std::vector<std::string>& meshed_ips) {
  double secured = 0;
  for (const auto& sample : samples) {
    const bool connection = sample.name == "tcp_open_total" && sample.label("peer") == "dst";
    if (sample.label("direction") != "outbound" || (!connection && sample.name != "request_total")) continue;
    const auto& tls = sample.label("tls");
    if (tls == "true" || tls == "local") {
      secured += sample.value;
      continue;
    }
    const auto address = SocketAddress::parse(sample.label("target_addr"));
    if (!address || sample.value <= 0) continue;
    if (std::find(meshed_ips.begin(), meshed_ips.end(), address->ip.to_string()) != meshed_ips.end()) {
      out.fail(check_code::plaintext, "plaintext",
               sample.label("namespace") + "/" + sample.label("pod") + " -> " + address->to_string() +
                   ": both are meshed, yet " + scaled(sample.value) +
                   " connections or requests went in clear");
    }
  }
  out.ok(check_code::plaintext, "mesh traffic",
         scaled(secured) + " connections and requests encrypted or joined on the node");
}

// That nobody goes around: a real connection of every meshed pod, and one to it.
void check_bypass(Verdicts& out, const NodeView& view, const json::object& state) {
  const auto processes = processes_by_netns();
  std::size_t captured = 0;
  std::size_t let_in = 0;
  const auto* pods = find_array(state, {"pods"});
  for (const auto& value : pods ? *pods : json::array()) {
    const auto* pod = value.if_object();
    const auto* ips = pod ? find_array(*pod, {"ips"}) : nullptr;
    if (!pod || text_at(*pod, {"redirected"}) != "true" || !ips || ips->empty()) continue;
    const auto name = "pod " + text_at(*pod, {"namespace"}) + "/" + text_at(*pod, {"name"});
    const auto ip = IpAddress::parse(std::string(ips->front().as_string()));
    struct stat netns{};
    const auto path = text_at(*pod, {"netns"});
    if (!ip || ::stat(path.c_str(), &netns) != 0) {
      out.warn(check_code::bypass, name,
               "its connections could not be tried: " + path + " is not there for this command");
      continue;
    }
    const auto process = processes.find(netns.st_ino);
    if (process == processes.end()) {
      out.warn(check_code::bypass, name, "its connections could not be tried: no process of it is running");
      continue;
    }
    const BypassTrial trial{path, view.netns, process->second, *ip};
    const auto outbound = try_outbound(trial);
    if (!outbound) {
      out.fail(check_code::bypass, name,
               "outbound: " + error_text(outbound.error()) +
                   " (right only if its skip-outbound-ports or skip-subnets say so)");
      continue;
    }
    const auto inbound = try_inbound(trial);
    // Nothing listens there: refused by the pod's kernel is what becomes of the node's own connections that
    // probes need.
    if (!inbound && text_at(*pod, {"node_let_in"}) == "true" &&
        inbound.error().code == boost::system::errc::connection_refused) {
      ++let_in;
      continue;
    }
    if (!inbound) {
      out.warn(check_code::bypass, name,
               "inbound: " + error_text(inbound.error()) + " (right only if its skip-inbound-ports say so)");
      continue;
    }
    ++captured;
  }
  const auto told =
      let_in == 0
          ? "connections out of and into " + std::to_string(captured) + " pods were tried and taken over"
          : "connections out of " + std::to_string(captured + let_in) + " pods and into " +
                std::to_string(captured) + " were tried and taken over; " + std::to_string(let_in) +
                " let in what comes from the node, for its probes: nothing can be tried from here";
  out.ok(check_code::bypass, "no way around", told);
}

std::vector<std::string> meshed_addresses(const std::vector<NodeView>& nodes) {
  std::vector<std::string> out;
  for (const auto& node : nodes) {
    const auto state = node.agent_state();
    const auto* pods = state ? find_array(*state, {"pods"}) : nullptr;
    for (const auto& value : pods ? *pods : json::array()) {
      const auto* pod = value.if_object();
      if (!pod || text_at(*pod, {"meshed"}) != "true") continue;
      if (const auto* ips = find_array(*pod, {"ips"})) {
        for (const auto& ip : *ips) out.emplace_back(ip.as_string());
      }
    }
  }
  return out;
}

// From within the agent's pod, which sees the pods' namespaces.
void check_bypass_there(Verdicts& out, const NodeView& view) {
  const auto document = view.link->run({"check", "--only", std::string(check_code::bypass), "-o", "json"});
  const auto found = document ? verdicts_of(*document) : std::vector<Verdict>();
  for (Verdict verdict : found) {
    if (verdict.code != check_code::bypass) continue;
    verdict.node = view.label();
    out.add(std::move(verdict));
  }
  if (found.empty()) {
    out.warn(check_code::bypass, "no way around",
             "not tried: " + (document ? std::string("the check in its pod said nothing")
                                       : error_text(document.error())));
  }
}

void check_node(Verdicts& out, const NodeView& view, const std::vector<std::string>& meshed_ips) {
  auto state = view.agent_state();
  out.about(!view.label().empty() && !view.name.empty() ? view.name
            : state                                     ? text_at(*state, {"node"})
                                                        : view.label());
  if (!state) {
    out.fail(check_code::agent, "agent", error_text(state.error()));
  } else {
    out.judge(text_at(*state, {"ready"}) == "true", check_code::agent, "agent",
              "ready, " + text_at(*state, {"interception", "mode"}) + " (" +
                  text_at(*state, {"interception", "reason"}) + ")",
              "starting");
    check_pods(out, view);
    view.run_dir.empty() ? check_bypass_there(out, view) : check_bypass(out, view, *state);
  }
  auto samples = view.proxy_metrics();
  if (!samples) return out.fail(check_code::proxy, "proxy", error_text(samples.error()));
  out.ok(check_code::proxy, "proxy", "answers");
  check_certificates(out, *samples);
  check_plaintext(out, *samples, meshed_ips);
}

}  // namespace

void check_nodes(Verdicts& out, const std::vector<NodeView>& nodes) {
  const auto meshed = meshed_addresses(nodes);
  for (const auto& node : nodes) check_node(out, node, meshed);
  out.about({});
}

}  // namespace heddle::tools
