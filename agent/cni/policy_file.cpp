// SPDX-License-Identifier: Apache-2.0
#include "agent/cni/policy_file.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/io/file.h"

namespace heddle::agent {
namespace {

namespace json = boost::json;

// Pods without an annotation of their own, known to the source or not yet.
bool meshes_silent_pods(const NodeFacts& node, const NamespaceFacts& ns) {
  return node.inject_unknown_pods || parse_annotations({}, ns.annotations).inject.value_or(false);
}

}  // namespace

std::string encode_policy(const NodeFacts& node, const std::vector<NamespaceFacts>& namespaces,
                          bool has_source) {
  json::object out;
  out["version"] = 1;
  out["controlNamespace"] = node.control_namespace;
  json::array& excluded = out["excludedNamespaces"].emplace_array();
  for (const auto& name : node.excluded_namespaces) excluded.emplace_back(name);
  out["otherNamespaces"] = has_source || node.inject_unknown_pods;
  json::object& known = out["namespaces"].emplace_object();
  std::size_t bytes = json::serialize(out).size();
  for (const auto& ns : namespaces) {
    constexpr std::size_t punctuation = 16;  // "":false,
    bytes += ns.name.size() + punctuation;
    if (bytes > max_policy_bytes) break;
    known[ns.name] = meshes_silent_pods(node, ns);
  }
  return json::serialize(out) + "\n";
}

void PolicyFile::update(const PodDirectory& directory) {
  auto namespaces = directory.namespaces();
  if (!namespaces || namespaces == written_) return;
  const std::string text = encode_policy(node_, *namespaces, directory.enabled());
  if (auto written = write_file_atomically(path_, text, 0600); !written) {
    if (failure_ != written.error().message()) {
      spdlog::error(
          "cannot write what heddle-cni decides by while the agent is away path={} error=\"{}\" next=\"free "
          "space where --run-dir is\"",
          path_, written.error().message());
    }
    failure_ = written.error().message();
    return;
  }
  failure_.clear();
  written_ = std::move(namespaces);
}

}  // namespace heddle::agent
