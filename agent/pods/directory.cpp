// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/directory.h"

#include "control/source/snapshot.h"
#include "control/source/source.h"

namespace heddle::agent {
namespace {

NamespaceFacts facts_of(const source::Namespace& ns) {
  NamespaceFacts out{ns.meta.name, {}};
  for (const auto& [key, value] : ns.meta.annotations) {
    if (key.find("linkerd.io/") != std::string::npos || key.find("heddle.io/") != std::string::npos)
      out.annotations[key] = value;
  }
  return out;
}

}  // namespace

std::vector<NamespaceFacts> namespace_facts(const source::Snapshot& snapshot) {
  std::vector<NamespaceFacts> out;
  for (const auto& ns : snapshot.objects().namespaces) out.push_back(facts_of(*ns));
  std::sort(out.begin(), out.end(),
            [](const NamespaceFacts& a, const NamespaceFacts& b) { return a.name < b.name; });
  return out;
}

namespace {

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
    if (pod == nullptr || !has_uid(*pod, uid)) return std::nullopt;
    return source_pod(*pod, snapshot->find_namespace(ns));
  }

  std::optional<std::vector<NamespaceFacts>> namespaces() const override {
    if (!source_->status().synced) return std::nullopt;
    return namespace_facts(*source_->current());
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
