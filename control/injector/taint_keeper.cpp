// SPDX-License-Identifier: Apache-2.0
#include "control/injector/taint_keeper.h"

#include "base/log.h"
#include "control/injector/taint.h"

namespace heddle::control {
namespace {

constexpr std::chrono::seconds again{2};
constexpr std::chrono::milliseconds call_limit{5000};

}  // namespace

TaintKeeper::TaintKeeper(source::kubernetes::Caller& caller, std::string control_namespace)
    : caller_(caller), control_namespace_(std::move(control_namespace)) {
  thread_ = std::thread([this] { run(); });
}

TaintKeeper::~TaintKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void TaintKeeper::look(std::shared_ptr<const source::Snapshot> snapshot) {
  {
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(snapshot);
    changed_ = true;
  }
  wake_.notify_all();
}

void TaintKeeper::run() {
  std::unique_lock lock(mutex_);
  bool done = true;
  while (true) {
    const auto woken = [this] { return stopping_ || changed_; };
    if (done) {
      wake_.wait(lock, woken);
    } else {
      // A burst of changes must not turn a failure into a burst of calls.
      wake_.wait_for(lock, again, [this] { return stopping_; });
    }
    if (stopping_) return;
    changed_ = false;
    const auto snapshot = snapshot_;
    lock.unlock();
    done = free_nodes(*snapshot);
    lock.lock();
  }
}

bool TaintKeeper::free_nodes(const source::Snapshot& snapshot) {
  bool done = true;
  for (const std::string& name : nodes_to_free(snapshot, control_namespace_)) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
    }
    done = free_node(name) && done;
  }
  if (done) told_.clear();
  return done;
}

bool TaintKeeper::free_node(const std::string& name) {
  // What the source last saw may be old: the patch is made from what the node is now.
  source::kubernetes::Request get;
  get.target = "/api/v1/nodes/" + name;
  const auto node = caller_.call(std::move(get), call_limit);
  if (!node) return failed(name, node.error().message());
  if (node->status == 404) return true;
  if (node->status != 200) return failed(name, "GET was answered " + std::to_string(node->status));
  auto patch = untaint_patch(node->body);
  if (!patch) return failed(name, patch.error().message());
  if (!*patch) return true;  // another replica's work
  source::kubernetes::Request change;
  change.method = "PATCH";
  change.target = "/api/v1/nodes/" + name;
  change.body = std::move(**patch);
  change.content_type = "application/json-patch+json";
  const auto answer = caller_.call(std::move(change), call_limit);
  if (!answer) return failed(name, answer.error().message());
  if (answer->status == 409 || answer->status == 422) {
    ++counters_.conflicts;
    return false;
  }
  if (answer->status != 200) return failed(name, "PATCH was answered " + std::to_string(answer->status));
  ++counters_.removed;
  spdlog::info("the agent is ready, pods may come: startup taint removed node={} taint={}", name,
               source::startup_taint);
  return true;
}

bool TaintKeeper::failed(const std::string& name, const std::string& why) {
  ++counters_.failures;
  std::string what = name + ": " + why;
  if (what != told_) {
    spdlog::warn(
        "the startup taint was not removed, pods wait for this node; heddle-control needs the right to "
        "get and patch nodes: {}",
        what);
  }
  told_ = std::move(what);
  return false;
}

}  // namespace heddle::control
