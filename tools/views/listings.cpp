// SPDX-License-Identifier: Apache-2.0
// identity and endpoints: what proxies know, as lists.
#include <ctime>
#include <iostream>

#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

const json::array& array_in(const json::object& from, std::initializer_list<const char*> path) {
  static const json::array none;
  const auto* found = find_array(from, path);
  return found ? *found : none;
}

// Calls `take` with each node's proxy state; nodes that do not answer are told on stderr. False when none
// did.
template <class Take>
bool each_proxy(const std::vector<NodeView>& nodes, Take take) {
  bool any = false;
  for (const auto& node : nodes) {
    const auto state = node.proxy_state();
    if (!state) {
      std::cerr << "heddle: node " << node.label() << ": " << error_text(state.error()) << "\n";
      continue;
    }
    any = true;
    take(node, *state);
  }
  return any;
}

std::string ends_in(const json::object& certificate) {
  const double until = std::strtod(text_at(certificate, {"valid_until_unix"}).c_str(), nullptr);
  const double left = until - static_cast<double>(std::time(nullptr));
  return until <= 0 ? "-" : left <= 0 ? "expired" : age_text(left);
}

// "web.shop" of "web.shop.svc.cluster.local:80".
bool names_service(const std::string& authority, const std::string& wanted) {
  if (wanted.empty()) return true;
  const auto colon = wanted.rfind(':');
  const auto name = wanted.substr(0, colon);
  const auto port = colon == std::string::npos ? std::string() : wanted.substr(colon);
  if (!authority.starts_with(name)) return false;
  const auto rest = authority.substr(name.size());
  if (!rest.empty() && rest.front() != '.' && rest.front() != ':') return false;
  return port.empty() || authority.ends_with(port);
}

// How many of the pods that a proxy serves have each identity, of those that are asked for.
std::map<std::string, std::size_t> pods_by_identity(const json::object& state, const Filter& filter) {
  std::map<std::string, std::size_t> out;
  for (const auto& value : array_in(state, {"pods"})) {
    const auto* pod = value.if_object();
    if (pod && filter.takes(text_at(*pod, {"namespace"}), text_at(*pod, {"name"})))
      ++out[text_at(*pod, {"identity"})];
  }
  return out;
}

// The endpoints that a label selector chose; all of them when there is none.
json::array chosen_endpoints(const json::object& entry, const Filter& chosen) {
  json::array out;
  for (const auto& value : array_in(entry, {"endpoints"})) {
    const auto* endpoint = value.if_object();
    if (endpoint &&
        chosen.takes(text_at(entry, {"labels", "namespace"}), text_at(*endpoint, {"labels", "pod"})))
      out.push_back(value);
  }
  return out;
}

}  // namespace

int show_identity(const View& view) {
  const auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  const bool of_all = filter->ns.empty() && !filter->pods;
  Table table({"NODE", "IDENTITY", "STATE", ">PODS", "ENDS IN"});
  json::array list;
  bool good = true;
  const bool any = each_proxy(*nodes, [&](const NodeView& node, const json::object& state) {
    const auto users = pods_by_identity(state, *filter);
    for (const auto& value : array_in(state, {"certificates"})) {
      const auto* certificate = value.if_object();
      if (!certificate) continue;
      json::object row = *certificate;
      const auto used = users.find(text_at(row, {"identity"}));
      if (!of_all && used == users.end()) continue;
      if (!of_all) row["pods"] = used->second;
      good = good && text_at(row, {"state"}) == "valid";
      table.add({node.label(), text_at(row, {"identity"}), text_at(row, {"state"}), text_at(row, {"pods"}),
                 ends_in(row)});
      row["node"] = node.label();
      list.push_back(std::move(row));
    }
  });
  if (!any) return 1;
  if (is_document(view.output)) {
    std::cout << document_text(json::object{{"identities", std::move(list)}}, view.output);
  } else {
    std::cout << (table.empty() ? "no meshed pod has asked for a certificate yet\n" : table.render());
  }
  return good ? 0 : 1;
}

int show_endpoints(const View& view, const std::string& service) {
  const auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  View of_endpoints = view;
  of_endpoints.ns.clear();  // that of the clients
  const auto chosen = filter_of(of_endpoints);
  if (!chosen) return report(chosen.error());
  std::vector<std::string> header{"NODE", "CLIENTS", "SERVICE", "STATE", "ENDPOINT", "POD", "SECURED"};
  if (view.output == Output::wide) header.emplace_back("IDENTITY");
  Table table(header);
  json::array list;
  const bool any = each_proxy(*nodes, [&](const NodeView& node, const json::object& state) {
    for (const auto& value : array_in(state, {"discovery", "entries"})) {
      const auto* entry = value.if_object();
      if (!entry || (!view.ns.empty() && text_at(*entry, {"namespace"}) != view.ns)) continue;
      const auto address = text_at(*entry, {"address"});
      const auto authority = text_at(*entry, {"authority"});
      if (!names_service(authority, service) && !names_service(address, service)) continue;
      const auto title = authority.empty() ? address : authority;
      auto endpoints = chosen_endpoints(*entry, *chosen);
      if (endpoints.empty() && chosen->pods) continue;
      for (const auto& member : endpoints) {
        const auto& endpoint = member.get_object();
        const auto identity = text_at(endpoint, {"identity"});
        table.add({node.label(), text_at(*entry, {"namespace"}), title, text_at(*entry, {"state"}),
                   text_at(endpoint, {"address"}), text_at(endpoint, {"labels", "pod"}),
                   identity.empty() ? "no" : "mTLS", identity});
      }
      if (endpoints.empty()) {
        table.add(
            {node.label(), text_at(*entry, {"namespace"}), title, text_at(*entry, {"state"}), "-", "", ""});
      }
      json::object row = *entry;
      row["endpoints"] = std::move(endpoints);
      row["node"] = node.label();
      list.push_back(std::move(row));
    }
  });
  if (!any) return 1;
  if (is_document(view.output)) {
    std::cout << document_text(json::object{{"services", std::move(list)}}, view.output);
  } else {
    std::cout << (table.empty()
                      ? "no proxy has been asked for that yet: it learns of a service when a pod connects\n"
                      : table.render());
  }
  return 0;
}

}  // namespace heddle::tools
