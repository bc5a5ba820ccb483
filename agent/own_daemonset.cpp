// SPDX-License-Identifier: Apache-2.0
#include "agent/own_daemonset.h"

#include "agent/daemonset_watch.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::agent {
namespace {

namespace k8s = source::kubernetes;

constexpr std::chrono::milliseconds look_again{10'000};

}  // namespace

struct OwnDaemonSet::Impl {
  Impl(Loop& on, k8s::Caller& asked, std::string in, std::string named)
      : loop(on), api(asked), ns(std::move(in)), name(std::move(named)) {}

  Loop& loop;
  k8s::Caller& api;
  std::string ns;
  std::string name;
  std::optional<std::string> seen_uid;
  bool told = false;
  std::unique_ptr<Loop::Handle> retry;
  // Answers that come after the end of this find nobody.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::optional<DaemonSetState> watched;  // last
  std::optional<DaemonSetWatch> watch;

  void get(std::function<void(Result<DaemonSetState>)> done) {
    k8s::Request request;
    request.target = "/apis/apps/v1/namespaces/" + ns + "/daemonsets/" + name;
    auto on_loop = [this, gone = std::weak_ptr<bool>(alive),
                    done = std::move(done)](const Result<k8s::Answer>& answer) {
      if (gone.expired()) return;
      done(answer ? read_daemonset(answer->status, answer->body, name)
                  : Result<DaemonSetState>(answer.error()));
    };
    api.call(std::move(request), deadline,
             [&to = loop, on_loop = std::move(on_loop)](Result<k8s::Answer> answer) {
               to.post([on_loop, answer = std::move(answer)] { on_loop(answer); });
             });
  }

  void look() {
    get([this](const Result<DaemonSetState>& state) {
      if (state && state->exists) {
        seen_uid = state->uid;
        spdlog::info("own DaemonSet seen namespace={} name={} uid={}", ns, name, state->uid);
        return follow();
      }
      if (!std::exchange(told, true)) {
        spdlog::warn(
            "own DaemonSet not found namespace={} name={} reason=\"{}\" next=\"the plugin will stay on the "
            "node when heddle is deleted; see --daemonset, and that the agent's role allows to get it\"",
            ns, name, state ? "there is none of this name" : state.error().message());
      }
      retry = loop.after(look_again, [this] { look(); });
    });
  }

  void follow() {
    watch.emplace(api.access(), ns, name,
                  [this, &to = loop, gone = std::weak_ptr<bool>(alive)](DaemonSetState state) {
                    to.post([this, gone, state = std::move(state)] {
                      if (!gone.expired()) on_told(state);
                    });
                  });
  }

  void on_told(const DaemonSetState& state) {
    const bool deleted = !state.exists || state.being_deleted;
    if (deleted && state.uid == seen_uid) {
      spdlog::info("own DaemonSet is deleted namespace={} name={}", ns, name);
    }
    watched = state;
  }
};

OwnDaemonSet::OwnDaemonSet(Loop& loop, k8s::Caller& api, std::string ns, std::string name)
    : impl_(std::make_unique<Impl>(loop, api, std::move(ns), std::move(name))) {
  impl_->look();
}

OwnDaemonSet::~OwnDaemonSet() = default;

void OwnDaemonSet::ask(std::function<void(Departure)> done) {
  impl_->get([impl = impl_.get(), done = std::move(done)](const Result<DaemonSetState>& state) {
    done(judge_departure(impl->seen_uid, state, impl->watched));
  });
}

}  // namespace heddle::agent
