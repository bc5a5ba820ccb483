// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

const json::array& pods_of(const json::object& state) {
  static const json::array none;
  const auto* pods = find_array(state, {"pods"});
  return pods ? *pods : none;
}

// Name of a pod in a state document, whose spelling the agent and the proxy share.
std::string key_of(const json::object& pod) {
  return text_at(pod, {"namespace"}) + "/" + text_at(pod, {"name"});
}

void add_pods(Table& table, const Filter& filter, const std::string& node, const json::object& agent,
              const json::object* proxy) {
  std::map<std::string, const json::object*> served;
  if (proxy) {
    for (const auto& value : pods_of(*proxy)) {
      if (const auto* pod = value.if_object()) served[key_of(*pod)] = pod;
    }
  }
  for (const auto& value : pods_of(agent)) {
    const auto* pod = value.if_object();
    if (!pod || !filter.takes(text_at(*pod, {"namespace"}), text_at(*pod, {"name"}))) continue;
    const auto found = served.find(key_of(*pod));
    std::string ips;
    if (const auto* list = find_array(*pod, {"ips"}); list && !list->empty()) ips = json_text(list->front());
    std::erase(ips, '"');
    const bool meshed = text_at(*pod, {"meshed"}) == "true";
    auto note = text_at(*pod, {"failure"});
    if (note.empty() && !meshed) note = text_at(*pod, {"reason"});
    table.add({node, text_at(*pod, {"namespace"}), text_at(*pod, {"name"}), or_dash(ips),
               meshed ? text_at(*pod, {"mode"}) : "not meshed", or_dash(text_at(*pod, {"redirected"})),
               or_dash(text_at(*pod, {"proxy"})),
               found == served.end() ? "-" : or_dash(text_at(*found->second, {"connections"})), note,
               text_at(*pod, {"identity"})});
  }
}

}  // namespace

int show_status(const View& view) {
  const Output output = view.output;
  auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  json::array list;
  Table programs({"NODE", "AGENT", "PROXY", "INTERCEPTION", ">PODS", "VERSION"});
  std::vector<std::string> header{"NODE",       "NAMESPACE", "POD",    "IP",  "MODE",
                                  "REDIRECTED", "PROXY",     ">CONNS", "NOTE"};
  if (output == Output::wide) header.emplace_back("IDENTITY");
  Table pods(header);
  bool all = true;
  for (const auto& node : *nodes) {
    auto agent = node.agent_state();
    auto proxy = node.proxy_state();
    all = all && agent && proxy;
    json::object entry{{"runDir", node.run_dir}};
    std::string name = node.name;
    if (agent && name.empty()) name = text_at(*agent, {"node"});
    entry["name"] = name;
    const std::string agent_text = agent ? "up" : "away";
    const std::string proxy_text = !proxy                                    ? "away"
                                   : text_at(*proxy, {"draining"}) == "true" ? "draining"
                                                                             : "up";
    programs.add({or_dash(name), agent_text, proxy_text,
                  agent ? or_dash(text_at(*agent, {"interception", "mode"})) : "-",
                  agent ? std::to_string(pods_of(*agent).size()) : "-",
                  agent ? text_at(*agent, {"version"}) : "-"});
    if (agent) add_pods(pods, *filter, or_dash(name), *agent, proxy ? &*proxy : nullptr);
    if (agent) {
      entry["agent"] = std::move(*agent);
    } else {
      entry["agentError"] = error_text(agent.error());
      std::cerr << "heddle: node " << (name.empty() ? node.run_dir : name) << ": "
                << error_text(agent.error()) << "\n";
    }
    if (proxy) {
      entry["proxy"] = std::move(*proxy);
    } else {
      entry["proxyError"] = error_text(proxy.error());
      std::cerr << "heddle: node " << (name.empty() ? node.run_dir : name) << ": "
                << error_text(proxy.error()) << "\n";
    }
    list.push_back(std::move(entry));
  }
  if (is_document(output)) {
    std::cout << document_text(json::object{{"nodes", std::move(list)}}, output);
  } else {
    std::cout << programs.render();
    if (!pods.empty()) std::cout << "\n" << pods.render();
  }
  return all ? 0 : 1;
}

}  // namespace heddle::tools
