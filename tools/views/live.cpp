// SPDX-License-Identifier: Apache-2.0
// stat, edges, tap and explain: what proxies say about traffic.
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cmath>
#include <iostream>

#include "tools/http/query.h"
#include "tools/lab/client.h"
#include "tools/lab/commands.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// All nodes' proxy metrics together; nodes that do not answer are told on stderr. False when none answered.
bool scrape(const std::vector<NodeView>& nodes, const Filter& filter, std::vector<Sample>& out) {
  bool any = false;
  for (const auto& node : nodes) {
    auto samples = node.proxy_metrics();
    if (!samples) {
      std::cerr << "heddle: node " << node.label() << ": " << error_text(samples.error()) << "\n";
      continue;
    }
    any = true;
    for (auto& sample : *samples) {
      if (!filter.takes(sample)) continue;
      sample.labels["heddle_node"] = node.label();  // keeps equal series of two nodes apart
      out.push_back(std::move(sample));
    }
  }
  return any;
}

std::string milliseconds(double value) {
  return std::isnan(value) ? "-" : duration_text(value);
}

std::string fixed(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace

int show_stat(const View& view, StatBy by, const std::string& direction, double window_s) {
  const Output output = view.output;
  auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  std::vector<Sample> before;
  std::vector<Sample> after;
  const auto begin = std::chrono::steady_clock::now();
  if (!scrape(*nodes, *filter, before)) return 1;
  std::this_thread::sleep_for(std::chrono::duration<double>(window_s));
  if (!scrape(*nodes, *filter, after)) return 1;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto rows = stat_rows(difference(before, after), after, seconds, by, direction);
  if (is_document(output)) {
    json::array list;
    for (const auto& row : rows) {
      list.push_back(json::object{{"namespace", row.ns},
                                  {"name", row.name},
                                  {"rps", row.requests_per_s},
                                  {"success", row.success},
                                  {"p50_ms", row.p50_ms},
                                  {"p95_ms", row.p95_ms},
                                  {"p99_ms", row.p99_ms},
                                  {"connections", row.connections},

                                  {"read_bytes_per_s", row.read_per_s},
                                  {"write_bytes_per_s", row.write_per_s}});
    }
    std::cout << document_text(
        json::object{{"direction", direction}, {"seconds", seconds}, {"rows", std::move(list)}}, output);
    return 0;
  }
  Table table(
      {"NAMESPACE", "NAME", ">RPS", ">SUCCESS", ">P50", ">P95", ">P99", ">CONNS", ">READ/S", ">WRITE/S"});
  for (const auto& row : rows) {
    table.add({row.ns, row.name, fixed(row.requests_per_s, 1), fixed(row.success * 100, 2) + "%",
               milliseconds(row.p50_ms), milliseconds(row.p95_ms), milliseconds(row.p99_ms),
               fixed(row.connections, 0), scaled(row.read_per_s) + "B", scaled(row.write_per_s) + "B"});
  }
  if (table.empty()) {
    std::cout << "no " << direction << " traffic has been seen yet\n";
  } else {
    std::cout << table.render();
  }
  return 0;
}

int show_edges(const View& view) {
  const Output output = view.output;
  auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  std::vector<Sample> samples;
  if (!scrape(*nodes, *filter, samples)) return 1;
  const auto rows = edge_rows(samples);
  if (is_document(output)) {
    json::array list;
    for (const auto& row : rows) {
      list.push_back(json::object{{"src", row.src},
                                  {"dst", row.dst},
                                  {"client_id", row.client_id},
                                  {"server_id", row.server_id},
                                  {"tls", row.tls},
                                  {"reason", row.reason},
                                  {"connections", row.connections},
                                  {"requests", row.requests}});
    }
    std::cout << document_text(json::object{{"edges", std::move(list)}}, output);
    return 0;
  }
  std::vector<std::string> header{"SRC", "DST", "SECURED", ">CONNS", ">REQUESTS"};
  if (output == Output::wide) header.insert(header.end(), {"CLIENT_ID", "SERVER_ID"});
  Table table(header);
  for (const auto& row : rows) {
    const auto secured =
        row.tls == "true" ? "mTLS" : row.tls + (row.reason.empty() ? "" : " (" + row.reason + ")");
    table.add({row.src, row.dst, secured, fixed(row.connections, 0), fixed(row.requests, 0), row.client_id,
               row.server_id});
  }
  std::cout << (table.empty() ? "no connection has been seen yet\n" : table.render());
  return 0;
}

namespace {

Result<SocketAddress> resolve_in_cluster(const ClusterFlags& flags, const std::string& name, PortRange port) {
  const auto dot = name.find('.');
  if (dot == std::string::npos || dot == 0) {
    return make_error(Errc::invalid_argument, name + ": write SERVICE.NAMESPACE:PORT");
  }
  const auto ns_end = std::min(name.find('.', dot + 1), name.size());
  auto cluster = Cluster::open(flags);
  if (!cluster) return cluster.error();
  const auto ip = cluster->address_of(name.substr(dot + 1, ns_end - dot - 1), name.substr(0, dot));
  if (!ip) return ip.error();
  return SocketAddress{*ip, port.low};
}

// SERVICE.NAMESPACE:PORT becomes the service's first address; addresses stay as they are.
Result<SocketAddress> resolve_destination(const Scope& scope, const std::string& text) {
  if (auto address = SocketAddress::parse(text)) return *address;
  const auto colon = text.rfind(':');
  const auto name = text.substr(0, colon);
  const auto port = colon == std::string::npos ? Result<PortRange>(make_error(Errc::invalid_argument))
                                               : PortRange::parse(text.substr(colon + 1));
  if (port && is_cluster(scope)) return resolve_in_cluster(scope.cluster, name, *port);
  auto layout = find_lab(scope.lab);
  if (!port || !layout) {
    return make_error(Errc::invalid_argument,
                      text + ": write IP:PORT, [IPv6]:PORT or, in a lab or cluster, SERVICE.NAMESPACE:PORT");
  }
  auto status = ask_lab(*layout, {{"op", "status"}});
  if (!status) return status.error();
  for (const auto* kind : {"services", "pods"}) {
    for (const auto& value : status->at(kind).as_array()) {
      const auto& object = value.as_object();
      const auto own = text_at(object, {"name"}) + "." + text_at(object, {"namespace"});
      if ((name == own || name == own + ".svc" || name == own + ".svc.cluster.local") &&
          !object.at("ips").as_array().empty()) {
        auto ip = IpAddress::parse(object.at("ips").as_array()[0].as_string());
        if (ip) return SocketAddress{*ip, port->low};
      }
    }
  }
  return make_error(Errc::not_found, "no service or pod " + name + " in lab " + layout->name);
}

void print_explanation(const json::value& value, int depth) {
  const std::string pad(static_cast<std::size_t>(depth) * 2, ' ');
  if (const auto* object = value.if_object()) {
    for (const auto& [name, member] : *object) {
      if (member.is_object() || member.is_array()) {
        std::cout << pad << name << ":\n";
        print_explanation(member, depth + 1);
      } else {
        std::cout << pad << name << ": "
                  << (member.is_string() ? std::string(member.get_string()) : json_text(member)) << "\n";
      }
    }
  } else if (const auto* array = value.if_array()) {
    for (const auto& member : *array) {
      if (const auto* entry = member.if_object()) {
        std::string line;
        for (const auto& [name, field] : *entry) {
          line += (line.empty() ? "" : "  ") + std::string(name) + "=" +
                  (field.is_string() ? std::string(field.get_string()) : json_text(field));
        }
        std::cout << pad << "- " << line << "\n";
      } else {
        std::cout << pad << "- "
                  << (member.is_string() ? std::string(member.get_string()) : json_text(member)) << "\n";
      }
    }
  }
}

}  // namespace

namespace {

struct ServedPod {
  std::string name;  // NAMESPACE/NAME
  const NodeView* node = nullptr;
};

// The proxy that serves the pod, given as NAMESPACE/NAME or, if there is one of that name only, NAME.
Result<ServedPod> find_served(const std::vector<NodeView>& nodes, const std::string& wanted) {
  std::vector<ServedPod> found;
  std::string away;
  for (const auto& node : nodes) {
    const auto state = node.proxy_state();
    if (!state) {
      away = error_text(state.error());
      continue;
    }
    const auto* pods = find_array(*state, {"pods"});
    for (const auto& value : pods ? *pods : json::array()) {
      const auto* pod = value.if_object();
      if (!pod) continue;
      const auto name = text_at(*pod, {"namespace"}) + "/" + text_at(*pod, {"name"});
      if (name == wanted || text_at(*pod, {"name"}) == wanted) found.push_back({name, &node});
    }
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return make_error(Errc::invalid_argument, "several pods are named " + wanted + "; write NAMESPACE/NAME");
  }
  return make_error(Errc::not_found, "no proxy here serves a pod " + wanted +
                                         (away.empty() ? "; `heddle status` shows pods" : ": " + away));
}

}  // namespace

int show_explain(const View& view, const std::string& source, const std::string& destination) {
  const Scope& scope = view.scope;
  const Output output = view.output;
  auto nodes = nodes_in(scope);
  if (!nodes) return report(nodes.error());
  auto address = resolve_destination(scope, destination);
  if (!address) return report(address.error());
  auto pod = find_served(*nodes, source);
  if (!pod) return report(pod.error());
  const auto target =
      "/explain?pod=" + query_escape(pod->name) + "&dst=" + query_escape(address->to_string());
  auto explanation = pod->node->get_json(AdminOf::proxy, target);
  if (!explanation) return report(explanation.error());
  if (is_document(output)) {
    std::cout << document_text(*explanation, output);
  } else {
    print_explanation(*explanation, 0);
  }
  return 0;
}

int show_admin(const Scope& scope, const std::string& program, const std::string& target) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  const Fd stop(::signalfd(-1, &mask, SFD_CLOEXEC));
  auto nodes = nodes_in(scope);
  if (!nodes) return report(nodes.error());
  if (nodes->size() != 1) {
    return report(make_error(Errc::invalid_argument, "several nodes: name one with --run-dir"));
  }
  const auto done = nodes->front().link->stream(program == "agent" ? AdminOf::agent : AdminOf::proxy, target,
                                                stop.get(), [](std::string_view line) {
                                                  std::cout << line << std::endl;
                                                  return static_cast<bool>(std::cout);
                                                });
  return done ? 0 : report(done.error());
}

Result<Filter> filter_of(const View& view) {
  Filter filter;
  filter.ns = view.ns;
  if (view.selector.empty()) return filter;
  if (!is_cluster(view.scope)) {
    return make_error(
        Errc::invalid_argument,
        "only a cluster's API server knows labels: leave -l out, or name the cluster with --context");
  }
  auto cluster = Cluster::open(view.scope.cluster);
  if (!cluster) return cluster.error();
  const auto path =
      view.ns.empty() ? std::string("/api/v1/pods") : "/api/v1/namespaces/" + query_escape(view.ns) + "/pods";
  auto pods = cluster->get(path + "?labelSelector=" + query_escape(view.selector));
  if (!pods) return pods.error();
  filter.pods.emplace();
  const auto* items = find_array(*pods, {"items"});
  for (const auto& value : items ? *items : json::array()) {
    const auto* pod = value.if_object();
    if (pod) filter.pods->insert(namespace_of(*pod) + "/" + text_at(*pod, {"metadata", "name"}));
  }
  return filter;
}

int watch_view(double seconds, const std::function<int()>& show) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  const auto whole = static_cast<time_t>(seconds);
  const timespec pause{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
  while (true) {
    const int code = show();
    std::cout << std::endl;
    if (::sigtimedwait(&mask, nullptr, &pause) > 0 || !std::cout) return code;
  }
}

}  // namespace heddle::tools
