// SPDX-License-Identifier: Apache-2.0
#include "agent/registry.h"

namespace heddle::agent {

Registry::Registry(std::uint32_t max_pods) : max_pods_(max_pods) {}

Sandbox* Registry::find(const std::string& container_id) {
  const auto found = sandboxes_.find(container_id);
  return found == sandboxes_.end() ? nullptr : &found->second;
}

const Sandbox* Registry::find(const std::string& container_id) const {
  const auto found = sandboxes_.find(container_id);
  return found == sandboxes_.end() ? nullptr : &found->second;
}

const Sandbox* Registry::find_pod(std::uint32_t pod_id) const {
  const auto found = by_id_.find(pod_id);
  return found == by_id_.end() ? nullptr : find(found->second);
}

const Sandbox* Registry::find_cookie(std::uint64_t cookie) const {
  const auto found = by_cookie_.find(cookie);
  return found == by_cookie_.end() ? nullptr : find(found->second);
}

Result<Sandbox*> Registry::insert(Sandbox sandbox) {
  const std::string id = sandbox.facts.container_id;
  if (sandboxes_.contains(id)) return make_error(Errc::already_exists, "sandbox " + id + " is known already");
  if (by_cookie_.contains(sandbox.facts.netns_cookie)) {
    return make_error(Errc::already_exists, "the network namespace of sandbox " + id +
                                                " belongs to sandbox " +
                                                by_cookie_[sandbox.facts.netns_cookie]);
  }
  if (sandbox.pod_id != 0 && (sandbox.pod_id >= max_pods_ || by_id_.contains(sandbox.pod_id))) {
    return make_error(Errc::already_exists, "pod id " + std::to_string(sandbox.pod_id) + " of sandbox " + id +
                                                " is taken or too large");
  }
  if (sandbox.pod_id != 0) {
    by_id_[sandbox.pod_id] = id;
    next_id_ = std::max(next_id_, sandbox.pod_id + 1);
  }
  by_cookie_[sandbox.facts.netns_cookie] = id;
  return &sandboxes_.emplace(id, std::move(sandbox)).first->second;
}

Result<> Registry::assign_id(Sandbox& sandbox) {
  if (sandbox.pod_id != 0) return {};
  for (std::uint32_t tried = 1; tried < max_pods_; ++tried) {
    if (next_id_ >= max_pods_) next_id_ = 1;
    const std::uint32_t id = next_id_++;
    if (by_id_.contains(id)) continue;
    sandbox.pod_id = id;
    by_id_[id] = sandbox.facts.container_id;
    return {};
  }
  return make_error(Errc::exhausted, "this node has " + std::to_string(max_pods_ - 1) +
                                         " meshed pods, the most heddle serves; schedule the pod elsewhere");
}

void Registry::erase(const std::string& container_id) {
  const auto found = sandboxes_.find(container_id);
  if (found == sandboxes_.end()) return;
  by_id_.erase(found->second.pod_id);
  by_cookie_.erase(found->second.facts.netns_cookie);
  sandboxes_.erase(found);
}

const Sandbox* Registry::find_identity(std::uint32_t pod_id, const std::string& identity) const {
  const auto has = [&](const Sandbox& sandbox) {
    return sandbox.spec.meshed && sandbox.spec.identity == identity;
  };
  if (const Sandbox* example = find_pod(pod_id); example != nullptr && has(*example)) return example;
  const auto found = std::find_if(sandboxes_.begin(), sandboxes_.end(),
                                  [&](const auto& entry) { return has(entry.second); });
  return found == sandboxes_.end() ? nullptr : &found->second;
}

bool Registry::has_identity(const std::string& identity) const {
  return std::any_of(sandboxes_.begin(), sandboxes_.end(), [&](const auto& entry) {
    return entry.second.spec.meshed && entry.second.spec.identity == identity;
  });
}

std::vector<std::string> Registry::ids() const {
  std::vector<std::string> out;
  out.reserve(sandboxes_.size());
  for (const auto& [id, sandbox] : sandboxes_) out.push_back(id);
  return out;
}

}  // namespace heddle::agent
