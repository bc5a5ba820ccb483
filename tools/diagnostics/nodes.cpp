// SPDX-License-Identifier: Apache-2.0
// What nodes say, and what the other commands make of it.
#include <filesystem>
#include <iostream>

#include "base/io/file.h"
#include "tools/diagnostics/collect.h"
#include "tools/diagnostics/facts.h"
#include "tools/lab/commands.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds patience{120};
constexpr std::size_t longest_log = std::size_t{64} << 20U;

struct Page {
  AdminOf program;
  const char* target;
  const char* file;
};
constexpr Page pages[] = {
    {AdminOf::agent, "/state", "agent-state.json"}, {AdminOf::agent, "/verify", "agent-verify.json"},
    {AdminOf::agent, "/drops", "agent-drops.json"}, {AdminOf::agent, "/metrics", "agent-metrics.txt"},
    {AdminOf::proxy, "/state", "proxy-state.json"}, {AdminOf::proxy, "/metrics", "proxy-metrics.txt"},
};

std::vector<std::string> scope_flags(const Scope& scope) {
  std::vector<std::string> out;
  const auto add = [&](const char* flag, const std::string& value) {
    if (!value.empty()) out.insert(out.end(), {flag, value});
  };
  add("--run-dir", scope.run_dir);
  add("--lab", scope.lab);
  add("--kubeconfig", scope.cluster.kubeconfig);
  add("--context", scope.cluster.context);
  add("--control-namespace", scope.cluster.control_namespace);
  if (scope.cluster.insecure_skip_tls_verify) out.emplace_back("--insecure-skip-tls-verify");
  return out;
}

void add_document(Bundle& out, const std::string& path, const std::string& text, const std::string& source) {
  boost::system::error_code malformed;
  auto value = json::parse(text, malformed);
  malformed ? out.add_text(path, text, source) : out.add_json(path, std::move(value), source);
}

void collect_view(Bundle& out, const Scope& scope, std::vector<std::string> words, const std::string& file) {
  SpawnSpec spec;
  spec.argv = {"/proc/self/exe"};
  std::string source = "heddle";
  for (const auto& word : words) source += " " + word;
  words.insert(words.end(), {"-o", "json"});
  spec.argv.insert(spec.argv.end(), words.begin(), words.end());
  const auto scoped = scope_flags(scope);
  spec.argv.insert(spec.argv.end(), scoped.begin(), scoped.end());
  spec.kept_output = longest_log;
  const auto done = run(spec, {}, patience);
  if (!done) return out.missing(source, error_text(done.error()));
  if (done->timed_out) return out.missing(source, "it did not end within 2 minutes");
  if (done->out.empty()) return out.missing(source, done->err.empty() ? done->exit.to_string() : done->err);
  // With 1 they say that not all is well, which is not this command's failure; what they could not ask, is.
  if (!done->err.empty()) out.missing(source, done->err);
  add_document(out, file, done->out, source + " (" + done->exit.to_string() + ")");
}

void collect_pages(Bundle& out, const NodeView& node, const std::string& folder) {
  for (const auto& page : pages) {
    const std::string source =
        (page.program == AdminOf::agent ? "agent " : "proxy ") + std::string(page.target);
    const auto body = node.link->get(page.program, page.target);
    if (!body) {
      out.missing("node " + node.label() + ": " + source, error_text(body.error()));
    } else if (std::string_view(page.file).ends_with(".json")) {
      add_document(out, folder + page.file, *body, source);
    } else {
      out.add_text(folder + page.file, *body, source);
    }
  }
}

void collect_facts(Bundle& out, const NodeView& node, const std::string& folder) {
  if (!node.run_dir.empty()) {
    out.add_json(folder + "machine.json", machine_facts(), "this machine");
    if (node.netns.empty())
      out.add_json(folder + "cni.json", cni_configurations("/etc/cni/net.d"), "/etc/cni/net.d");
    return;
  }
  const auto facts = node.link->run({"diagnostics", "node"});
  if (facts) {
    add_document(out, folder + "machine.json", *facts, "heddle diagnostics node, in the agent's pod");
  } else {
    out.missing("node " + node.label() + ": facts of the machine", error_text(facts.error()));
  }
}

}  // namespace

void collect_views(Bundle& out, const DiagnosticsFlags& flags) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> views{
      {{"check"}, "check.json"},
      {{"status"}, "status.json"},
      {{"stat", "--by", "pod"}, "stat-inbound.json"},
      {{"stat", "--by", "pod", "--direction", "outbound"}, "stat-outbound.json"},
      {{"edges"}, "edges.json"},
      {{"endpoints"}, "endpoints.json"},
      {{"identity"}, "identity.json"}};
  for (const auto& [words, file] : views) {
    tell_progress("heddle " + words.front());
    collect_view(out, flags.scope, words, file);
  }
}

void collect_nodes(Bundle& out, const DiagnosticsFlags& flags, const std::vector<NodeView>& nodes) {
  std::size_t at = 0;
  for (const auto& node : nodes) {
    const auto name = node.name.empty() ? std::string("this") : node.name;
    tell_progress("node " + name + " (" + std::to_string(++at) + " of " + std::to_string(nodes.size()) + ")");
    if (!node.trouble.empty()) {
      out.missing("node " + name, node.trouble);
      continue;
    }
    const auto folder = "nodes/" + name + "/";
    out.names().add("node", name);
    if (const auto state = node.agent_state()) out.names().add_state(*state);
    collect_pages(out, node, folder);
    collect_facts(out, node, folder);
  }
  if (is_cluster(flags.scope) || !flags.scope.run_dir.empty()) return;
  const auto layout = find_lab(flags.scope.lab);
  if (!layout) return;  // this machine's own heddle
  std::vector<std::string> logs{"control"};
  for (const auto& node : nodes) logs.insert(logs.end(), {node.name + "_agent", node.name + "_proxy"});
  for (const auto& log : logs) {
    const auto path = layout->logs() + "/" + log + ".log";
    const auto text = read_file(path, longest_log);
    text ? out.add_text("heddle/logs/" + log + ".log", *text, path, true)
         : out.missing(path, error_text(text.error()));
  }
}

int show_machine_facts(const std::string& cni_folder, Output output) {
  auto facts = machine_facts();
  if (!cni_folder.empty()) facts["cni"] = cni_configurations(cni_folder);
  std::cout << document_text(facts, output == Output::yaml ? output : Output::json);
  return 0;
}

}  // namespace heddle::tools
