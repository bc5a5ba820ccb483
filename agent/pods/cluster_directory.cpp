// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <mutex>

#include "agent/pods/directory.h"
#include "control/source/decode.h"
#include "control/source/kubernetes/caller.h"
#include "control/source/snapshot.h"
#include "control/source/source.h"

namespace heddle::agent {
namespace {

using source::kubernetes::Answer;
using source::kubernetes::Caller;
using Clock = std::chrono::steady_clock;

// Names come from CNI_ARGS and become part of a path.
bool is_object_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 &&
         std::all_of(name.begin(), name.end(),
                     [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
                     }) &&
         name != "." && name != "..";
}

Result<source::Objects> objects_of(const Result<Answer>& answer, const std::string& what) {
  if (!answer) return answer.error();
  if (answer->status == 404) return make_error(Errc::not_found, "the API server has no " + what);
  if (answer->status != 200) {
    return make_error(Errc::unavailable, "the API server answered " + std::to_string(answer->status) +
                                             " to GET " + what +
                                             (answer->status == 403 ? "; allow get of it" : ""));
  }
  return source::parse_objects(answer->body, source::Format::json);
}

// One question: the pod, then its namespace where the snapshot does not have it. Lives in its callbacks.
struct Question : std::enable_shared_from_this<Question> {
  Caller& api;
  std::string ns;
  std::string name;
  std::string uid;
  Clock::time_point deadline;
  std::shared_ptr<const source::Snapshot> known;
  PodDirectory::Answered done;

  Question(Caller& caller, std::string_view pod_ns, std::string_view pod_name, std::string_view pod_uid,
           std::chrono::milliseconds limit, std::shared_ptr<const source::Snapshot> snapshot,
           PodDirectory::Answered answered)
      : api(caller),
        ns(pod_ns),
        name(pod_name),
        uid(pod_uid),
        deadline(Clock::now() + limit),
        known(std::move(snapshot)),
        done(std::move(answered)) {}

  void ask(const std::string& target, std::function<void(const Result<Answer>&)> then) {
    source::kubernetes::Request request;
    request.target = target;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    api.call(std::move(request), std::max(left, std::chrono::milliseconds(0)),
             [then = std::move(then)](const Result<Answer>& answer) { then(answer); });
  }

  void begin() {
    if (!is_object_name(ns) || !is_object_name(name)) return fail("its name is none that Kubernetes allows");
    ask("/api/v1/namespaces/" + ns + "/pods/" + name,
        [self = shared_from_this()](const Result<Answer>& answer) { self->take_pod(answer); });
  }

  void take_pod(const Result<Answer>& answer) {
    const auto objects = objects_of(answer, "pod " + ns + "/" + name);
    if (!objects) return fail(objects.error().message());
    if (objects->pods.size() != 1) return fail("the API server's answer is no pod");
    const auto pod = objects->pods.front();
    if (!has_uid(*pod, uid))
      return fail("the API server has another pod of this name (uid " + pod->meta.uid + ")");
    if (const auto* owner = known->find_namespace(ns)) return succeed(*pod, owner);
    ask("/api/v1/namespaces/" + ns, [self = shared_from_this(), pod](const Result<Answer>& told) {
      const auto owners = objects_of(told, "namespace " + self->ns);
      if (!owners) return self->fail(owners.error().message());
      if (owners->namespaces.size() != 1) return self->fail("the API server's answer is no namespace");
      self->succeed(*pod, owners->namespaces.front().get());
    });
  }

  void succeed(const source::Pod& pod, const source::Namespace* owner) {
    PodAnswer answer;
    answer.pod = source_pod(pod, owner);
    done(std::move(answer));
  }

  void fail(std::string problem) {
    PodAnswer answer;
    answer.problem = std::move(problem);
    if (const auto* owner = known->find_namespace(ns)) {
      answer.namespace_annotations.emplace(owner->meta.annotations.begin(), owner->meta.annotations.end());
    }
    done(std::move(answer));
  }
};

// The folder's directory knows everything at once; a cluster's is read meanwhile, and may be away.
class ClusterDirectory final : public PodDirectory {
 public:
  ClusterDirectory(std::unique_ptr<source::Source> from, Caller& api) : source_(std::move(from)), api_(api) {}

  Result<> start(std::function<void()> on_change) override {
    return source_->start(
        [on_change = std::move(on_change)](const std::shared_ptr<const source::Snapshot>&) { on_change(); });
  }

  std::optional<SourcePod> find(std::string_view ns, std::string_view name,
                                std::string_view uid) const override {
    const auto snapshot = source_->current();
    const auto* pod = snapshot->find_pod(ns, name);
    const auto* owner = snapshot->find_namespace(ns);
    if (pod == nullptr || owner == nullptr || !has_uid(*pod, uid)) return std::nullopt;
    return source_pod(*pod, owner);
  }

  std::optional<std::vector<NamespaceFacts>> namespaces() const override {
    if (!source_->status().synced) return std::nullopt;
    return namespace_facts(*source_->current());
  }

  bool enabled() const override { return true; }

  bool look_up(std::string_view ns, std::string_view name, std::string_view uid,
               std::chrono::milliseconds deadline, const Answered& done) override {
    std::make_shared<Question>(api_, ns, name, uid, deadline, source_->current(), done)->begin();
    return true;
  }

  std::vector<RunningPod> running() const override {
    std::vector<RunningPod> out;
    const auto snapshot = source_->current();
    for (const auto& pod : snapshot->objects().pods) {
      const auto* owner = snapshot->find_namespace(pod->meta.ns);
      if (owner != nullptr && runs_in_own_network(*pod)) out.push_back(running_pod(*pod, owner));
    }
    return out;
  }

 private:
  std::unique_ptr<source::Source> source_;
  Caller& api_;
};

}  // namespace

std::unique_ptr<PodDirectory> make_cluster_directory(std::unique_ptr<source::Source> from, Caller& api) {
  return std::make_unique<ClusterDirectory>(std::move(from), api);
}

}  // namespace heddle::agent
