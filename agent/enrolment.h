// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/cni/request.h"
#include "agent/escrow.h"
#include "agent/events/event.h"
#include "agent/interception.h"
#include "agent/loop.h"
#include "agent/pods/directory.h"
#include "agent/pods/find_netns.h"
#include "agent/proxy_link/links.h"
#include "agent/reconcile.h"
#include "agent/registry.h"
#include "agent/state/state_store.h"
#include "base/backoff.h"

namespace heddle::agent {

// The sandboxes of this node: what the runtime and the source say goes into the registry, the plan of the
// difference is carried out, and what failed is tried again. Owns registry, escrow and reconciler. Main
// thread.
//   enrolment.cpp        the CNI commands           enrolment_steps.cpp  what each step does
//   enrolment_goals.cpp  what a sandbox shall be    recovery.cpp         after a restart
//   upkeep.cpp           the source's changes, retries, dead namespaces
//   enrolment_running.cpp                        pods that started before heddle
class Enrolment final : private Reconciler::Effects {
 public:
  using Reply = std::function<void(CniAnswer)>;
  struct Parts {
    Loop& loop;
    Interception& interception;
    StateStore& store;
    PodDirectory& directory;
    NodeFacts node;
    std::string pins;  // folder of own netns bind mounts, RUN/agent/netns
    std::chrono::milliseconds release_settle{0};
  };
  struct Totals {
    std::uint64_t enrolled = 0;
    std::uint64_t failed = 0;
    std::uint64_t released = 0;
    std::uint64_t repaired = 0;   // found incomplete and put right
    std::uint64_t abandoned = 0;  // released because the netns was dead and no DEL came
    // Looks at pods' nat rules: nothing changed since the last, changed but still right, repaired.
    std::uint64_t rules_unchanged = 0;
    std::uint64_t rules_intact = 0;
    std::uint64_t rules_repaired = 0;
  };

  explicit Enrolment(Parts parts);
  ~Enrolment() override;
  // Before anything else.
  void connect(ProxyLinks& links) { links_ = &links; }
  // Who is told what happens to pods that the source knows; nobody at first.
  using Witness = std::function<void(const EventSubject&, EventReason, std::string message)>;
  void set_witness(Witness witness) { witness_ = std::move(witness); }

  void handle(CniCall call, Fd netns, Reply reply);

  // After a restart: takes over what the state file knows (`lost`: it could not be read), then adopt() for
  // what proxies give back, then finish_recovery(). `done` when every sandbox was converged or failed once.
  void recover(std::vector<Sandbox> saved, bool lost);
  bool adopt(const node::Pod& pod, Fd outbound, Fd inbound);
  bool wants_listeners() const;  // some meshed sandbox has none
  // Runs `then` once nothing that adopt() set going is under way: what was adopted is served by then, or
  // failed.
  void when_adopted(std::function<void()> then);
  void finish_recovery(std::function<void()> done);

  void source_changed();
  // What rules have to be has changed: pods' are compared anew with their turn, also where nobody touched
  // them.
  void look_at_all_rules_again();
  // Removes every redirection (uninstall). `done` when all was tried.
  void release_all(std::function<void()> done);

  Result<std::vector<Fd>> make_sockets(std::uint32_t pod_id, bool ipv6, std::uint32_t count);

  const Registry& registry() const { return registry_; }
  // By which its netns can be entered: the runtime's path, or a bind mount of our own.
  std::string netns_path(const Sandbox& sandbox) const;
  const Totals& totals() const { return totals_; }
  // What is missing of a meshed sandbox, or success.
  Result<> verify(const Sandbox& sandbox);
  Progress progress(const std::string& id) const { return reconciler_.progress(id); }
  std::size_t listeners_held() const { return escrow_.size(); }

 private:
  struct Upkeep {
    bool releasing = false;
    bool seen_in_source = false;
    bool told_meshed = false;  // the witness was
    bool taken_over = false;   // meshed by the agent before this one
    std::chrono::steady_clock::time_point gone_from_source{};
    Backoff backoff{{std::chrono::milliseconds(500), std::chrono::milliseconds(30'000), 0.1}};
    std::chrono::steady_clock::time_point retry_at{};
    std::chrono::steady_clock::time_point released{};  // while it runs; when
    std::optional<std::uint32_t> rules_stamp;  // Redirect::stamp() when the rules were last found right
  };
  struct WaitingForSource;
  struct Search {
    std::vector<RunningPod> pods;
    std::map<std::string, std::vector<IpAddress>> ips;  // by uid of the cgroup
    std::map<std::string, FoundNetns> found;
  };

  // `told`: what the source said of the pod when asked.
  void add(CniCall call, Fd netns, Reply reply, bool may_wait, std::optional<SourcePod> told = std::nullopt);
  void add_known(const CniCall& call, Fd netns, const Reply& reply, std::optional<SourcePod> told);
  void add_new(const CniCall& call, std::uint64_t cookie, Fd netns, const Reply& reply,
               std::optional<SourcePod> told);
  void enrol_or_record(Sandbox& sandbox, bool fresh, const Reply& reply);
  Sandbox* find_for_del(const CniCall& call, const Fd& netns);
  void del(const CniCall& call, const Fd& netns, const Reply& reply);
  void check(const CniCall& call, const Fd& netns, const Reply& reply);
  void collect_garbage(const CniCall& call, const Reply& reply);
  CniAnswer status() const;
  bool must_wait_for_source(const CniCall& call) const;
  void wait_for_source(CniCall call, Fd netns, Reply reply);
  void source_answered(std::uint64_t ticket, PodAnswer answer);
  void add_unseen(WaitingForSource& waiting);
  void give_up_waiting(const CniCall& del);
  void wake_waiting();

  // Puts facts into the spec; raises the generation when that changes anything. False: unchanged.
  bool redescribe(Sandbox& sandbox);
  // The same, and the facts are recorded even if they make no difference now: a later agent shall wait for
  // the right DELs and look at the right path.
  void record_anew(Sandbox& sandbox);
  Result<> prepare_numbers(Sandbox& sandbox);
  Goal goal_of(const Sandbox& sandbox) const;
  void converge(const std::string& id, Reconciler::OnFailure on_failure, Reconciler::Done done);
  void release(const std::string& id, Reconciler::Done done);
  void after_converge(const std::string& id, const Result<>& result);
  void note_failure(Sandbox& sandbox, const Error& error);
  void tell(const Sandbox& sandbox, EventReason reason, std::string message);
  void tell_of_success(const Sandbox& sandbox, Upkeep& upkeep);
  Result<int> netns_of(Sandbox& sandbox);
  std::string pin_path(const Sandbox& sandbox) const;
  void locate(Sandbox& sandbox, int netns_fd);

  void perform(const std::string& id, Step step, const Goal& goal, Reconciler::Done done) override;
  Result<> perform_now(Sandbox& sandbox, Step step);
  void offer(Sandbox& sandbox, Reconciler::Done done);
  void settle(std::string id, Goal goal, std::chrono::steady_clock::time_point since, Reconciler::Done done);
  void withdraw(const Sandbox& sandbox, const Goal& goal);

  void take_over(Sandbox saved);
  bool is_alive(Sandbox& sandbox);
  bool is_alive_unseen(const Sandbox& sandbox);
  bool is_gone_from_source(const Sandbox& sandbox) const;
  bool is_redirected(std::uint64_t cookie) const;
  bool rebuild(std::uint64_t cookie, const node::Pod& pod, int listener);
  void remove_orphans(bool lost);
  void remove_stale_pins();
  void verify_recovered(Sandbox& sandbox);
  // What redirects the pod is not to be believed: the next converge() makes it again, without a gap.
  void doubt(const std::string& id);
  void apply_source();
  void retry_failed();
  void sweep();
  void repair(Sandbox& sandbox, const Error& missing);
  bool has_sandbox_of(const RunningPod& running) const;
  void look_for_running();
  void take_running(const RunningPod& running, std::map<std::string, FoundNetns>& found);
  void look_at_rules();
  // True: it took a process.
  bool look_at_rules_of(Sandbox& sandbox);

  Loop& loop_;
  Interception& interception_;
  StateStore& store_;
  PodDirectory& directory_;
  NodeFacts node_;
  std::string pins_;
  const std::chrono::milliseconds release_settle_;
  ProxyLinks* links_ = nullptr;
  Witness witness_;
  Registry registry_;
  Escrow escrow_;
  Reconciler reconciler_;
  Totals totals_;
  bool state_lost_ = false;
  bool recovered_ = false;
  std::size_t adopting_ = 0;
  std::vector<std::function<void()>> adopted_waiters_;
  std::unordered_map<std::string, Upkeep> upkeep_;
  std::map<std::string, std::unique_ptr<Loop::Handle>> settling_;
  std::vector<std::unique_ptr<WaitingForSource>> waiting_;
  std::uint64_t next_ticket_ = 1;
  bool searching_ = false;           // for pods without a sandbox
  std::set<std::string> not_found_;  // uids of pods that were looked for, told of once
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // answers may come later than the end
  std::unique_ptr<Loop::Handle> source_timer_;
  std::unique_ptr<Loop::Handle> retry_timer_;
  std::unique_ptr<Loop::Handle> sweep_timer_;
  std::unique_ptr<Loop::Handle> rules_timer_;
  std::string rules_cursor_;  // container id last looked at
  std::mt19937 random_{std::random_device{}()};
};

}  // namespace heddle::agent
