// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/directory.h"

#include "control/source/snapshot.h"
#include "control/source/source.h"

namespace heddle::agent {
namespace {

// The owner's name under its kind in lower case, as Linkerd labels metrics. A Deployment's pods are owned by
// a ReplicaSet "<deployment>-<pod-template-hash>".
void add_owner_labels(const source::Pod& pod, Annotations& labels) {
  for (const auto& owner : pod.meta.owners) {
    if (!owner.controller) continue;
    std::string kind = owner.kind;
    std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
    labels[kind] = owner.name;
    const auto hash = pod.meta.labels.find("pod-template-hash");
    if (kind != "replicaset" || hash == pod.meta.labels.end()) continue;
    const std::string suffix = "-" + hash->second;
    if (owner.name.ends_with(suffix))
      labels["deployment"] = owner.name.substr(0, owner.name.size() - suffix.size());
  }
}

NamespaceFacts facts_of(const source::Namespace& ns) {
  NamespaceFacts out{ns.meta.name, {}};
  for (const auto& [key, value] : ns.meta.annotations) {
    if (key.find("linkerd.io/") != std::string::npos || key.find("heddle.io/") != std::string::npos)
      out.annotations[key] = value;
  }
  return out;
}

class SourceDirectory final : public PodDirectory {
 public:
  explicit SourceDirectory(std::unique_ptr<source::Source> from) : source_(std::move(from)) {}

  Result<> start(std::function<void()> on_change) override {
    return source_->start(
        [on_change = std::move(on_change)](const std::shared_ptr<const source::Snapshot>&) { on_change(); });
  }

  std::optional<SourcePod> find(std::string_view ns, std::string_view name,
                                std::string_view uid) const override {
    const auto snapshot = source_->current();
    const auto* pod = snapshot->find_pod(ns, name);
    if (pod == nullptr) return std::nullopt;
    if (!uid.empty() && !pod->meta.uid.empty() && pod->meta.uid != uid) return std::nullopt;
    SourcePod out;
    out.uid = pod->meta.uid;
    out.service_account = pod->service_account;
    out.annotations.insert(pod->meta.annotations.begin(), pod->meta.annotations.end());
    if (const auto* owner = snapshot->find_namespace(ns)) {
      out.namespace_annotations.insert(owner->meta.annotations.begin(), owner->meta.annotations.end());
    }
    out.labels.insert(pod->meta.labels.begin(), pod->meta.labels.end());
    add_owner_labels(*pod, out.labels);
    out.ips = pod->ips;
    for (const auto& port : pod->ports) {
      if (!port.name.empty() && port.protocol == source::Protocol::tcp)
        out.ports_by_name[port.name] = port.port;
    }
    return out;
  }

  std::optional<std::vector<NamespaceFacts>> namespaces() const override {
    if (!source_->status().synced) return std::nullopt;
    std::vector<NamespaceFacts> out;
    for (const auto& ns : source_->current()->objects().namespaces) out.push_back(facts_of(*ns));
    std::sort(out.begin(), out.end(),
              [](const NamespaceFacts& a, const NamespaceFacts& b) { return a.name < b.name; });
    return out;
  }

  bool enabled() const override { return true; }

 private:
  std::unique_ptr<source::Source> source_;
};

class NoDirectory final : public PodDirectory {
 public:
  Result<> start(std::function<void()>) override { return {}; }
  std::optional<SourcePod> find(std::string_view, std::string_view, std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<NamespaceFacts>> namespaces() const override {
    return std::vector<NamespaceFacts>();
  }
  bool enabled() const override { return false; }
};

}  // namespace

Result<std::unique_ptr<PodDirectory>> make_directory(const std::string& spec) {
  if (spec == "none" || spec.empty()) return std::unique_ptr<PodDirectory>(std::make_unique<NoDirectory>());
  auto made = source::make_source(spec);
  if (!made) return made.error();
  return std::unique_ptr<PodDirectory>(std::make_unique<SourceDirectory>(std::move(*made)));
}

}  // namespace heddle::agent
