// SPDX-License-Identifier: Apache-2.0
// The CNI commands.
#include "agent/enrolment.h"

#include "agent/enrolment_waiting.h"
#include "agent/liveness.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds source_patience{300};
constexpr std::chrono::milliseconds question_deadline{2000};

// False: it was there already.
bool set_attachment(SandboxFacts& facts, const CniCall& call) {
  const Attachment wanted{call.ifname, call.network, call.ips};
  for (auto& attachment : facts.attachments) {
    if (attachment.ifname != call.ifname) continue;
    if (attachment == wanted) return false;
    attachment = wanted;
    return true;
  }
  facts.attachments.push_back(wanted);
  return true;
}

Result<std::vector<IpAddress>> addresses_in(int netns_fd) {
  auto scope = ScopedNetns::enter(netns_fd);
  if (!scope) return scope.error();
  return local_addresses();
}

}  // namespace

void Enrolment::handle(CniCall call, Fd netns, Reply reply) {
  switch (call.command) {
    case CniCommand::add:
      add(std::move(call), std::move(netns), std::move(reply), true);
      return;
    case CniCommand::del:
      del(call, netns, reply);
      return;
    case CniCommand::check:
      check(call, netns, reply);
      return;
    case CniCommand::gc:
      collect_garbage(call, reply);
      return;
    case CniCommand::status:
      reply(status());
      return;
  }
}

void Enrolment::add(CniCall call, Fd netns, Reply reply, bool may_wait, std::optional<SourcePod> told) {
  const auto cookie = netns_cookie(netns.get());
  if (!cookie) {
    reply(explain_failure(cookie.error()));
    return;
  }
  if (may_wait && must_wait_for_source(call)) {
    wait_for_source(std::move(call), std::move(netns), std::move(reply));
    return;
  }
  const Sandbox* known = registry_.find(call.container_id);
  const Sandbox* same_netns = registry_.find_cookie(*cookie);
  // The same sandbox with another netns, or the same netns under another name: a DEL was missed.
  const Sandbox* stale = known != nullptr && known->facts.netns_cookie != *cookie ? known
                         : known == nullptr                                       ? same_netns
                                                                                  : nullptr;
  if (stale != nullptr) {
    const std::string id = stale->facts.container_id;
    spdlog::info("sandbox replaced container={} by={} reason=\"the runtime's DEL was missed\"", id,
                 call.container_id);
    auto shared = std::make_shared<std::pair<CniCall, Fd>>(std::move(call), std::move(netns));
    release(id, [this, shared, reply, id, told = std::move(told)](const Result<>& result) {
      if (!result || registry_.find(id) != nullptr) {
        reply(explain_failure(
            make_error(Errc::unavailable, "an earlier sandbox " + id + " is still being released")));
        return;
      }
      add(std::move(shared->first), std::move(shared->second), reply, false, told);
    });
    return;
  }
  if (known != nullptr) {
    add_known(call, std::move(netns), reply, std::move(told));
  } else {
    add_new(call, *cookie, std::move(netns), reply, std::move(told));
  }
}

// The runtime repeats itself, or adds another network's interface.
void Enrolment::add_known(const CniCall& call, Fd netns, const Reply& reply, std::optional<SourcePod> told) {
  Sandbox& sandbox = *registry_.find(call.container_id);
  if (upkeep_[call.container_id].releasing) {
    reply(explain_failure(make_error(Errc::unavailable, "the sandbox is being released")));
    return;
  }
  const bool moved = sandbox.facts.netns_path != call.netns_path;
  sandbox.facts.netns_path = call.netns_path;
  const bool attached = set_attachment(sandbox.facts, call);
  if (!call.annotations.empty()) sandbox.facts.annotations = call.annotations;
  if (told) sandbox.facts.source = std::move(told);
  if (auto found = addresses_in(netns.get())) sandbox.facts.netns_addresses = std::move(*found);
  if (attached || moved) {
    record_anew(sandbox);
  } else {
    redescribe(sandbox);
  }
  if (sandbox.spec.meshed) {
    HeldSockets* held = escrow_.find(call.container_id);
    if (held == nullptr) held = &escrow_.keep(call.container_id, {});
    if (!held->netns || moved) locate(sandbox, netns.get());
    if (!held->netns) held->netns = std::move(netns);
    // What is missing is found out by looking, not by believing. (Numbers that cannot be had: converge()
    // tells.)
    if (prepare_numbers(sandbox) && !reconciler_.busy(call.container_id) && !verify(sandbox)) {
      doubt(call.container_id);
    }
  }
  enrol_or_record(sandbox, false, reply);
}

void Enrolment::add_new(const CniCall& call, std::uint64_t cookie, Fd netns, const Reply& reply,
                        std::optional<SourcePod> told) {
  Sandbox fresh;
  SandboxFacts& facts = fresh.facts;
  facts.container_id = call.container_id;
  facts.netns_path = call.netns_path;
  facts.netns_cookie = cookie;
  facts.pod_namespace = call.pod_namespace;
  facts.pod_name = call.pod_name;
  facts.pod_uid = call.pod_uid;
  facts.annotations = call.annotations;
  facts.source = std::move(told);
  set_attachment(facts, call);
  if (auto found = addresses_in(netns.get())) facts.netns_addresses = std::move(*found);
  auto inserted = registry_.insert(std::move(fresh));
  if (!inserted) {
    ++totals_.failed;
    reply(explain_failure(inserted.error()));
    return;
  }
  Sandbox& sandbox = **inserted;
  redescribe(sandbox);
  sandbox.generation = 1;
  if (sandbox.spec.meshed) {
    if (auto numbers = prepare_numbers(sandbox); !numbers) {
      ++totals_.failed;
      registry_.erase(call.container_id);
      upkeep_.erase(call.container_id);
      reply(explain_failure(numbers.error()));
      return;
    }
    locate(sandbox, netns.get());
    HeldSockets held;
    held.netns = std::move(netns);
    escrow_.keep(call.container_id, std::move(held));
  } else {
    sandbox.path_reachable = netns_inode(call.netns_path) == netns_inode(netns.get());
  }
  enrol_or_record(sandbox, true, reply);
}

void Enrolment::enrol_or_record(Sandbox& sandbox, bool fresh, const Reply& reply) {
  const std::string id = sandbox.facts.container_id;
  converge(id, fresh ? Reconciler::OnFailure::undo : Reconciler::OnFailure::keep,
           [this, id, reply](const Result<>& result) {
             if (!result) {
               ++totals_.failed;
               reply(explain_failure(result.error()));
               return;
             }
             const Sandbox* done = registry_.find(id);
             const bool meshed = done != nullptr && done->spec.meshed;
             if (meshed) ++totals_.enrolled;
             if (done != nullptr) {
               spdlog::info("sandbox added pod={}/{} container={} meshed={} pod_id={} mode={} reason=\"{}\"",
                            done->spec.ns, done->spec.name, id, meshed, done->pod_id,
                            meshed ? to_string(done->mode) : "none", done->spec.reason);
             }
             reply({CniCode::ok, "", "", meshed});
           });
}

// By its container id; where that was lost with the state file, by its netns or the pod's name. Nobody else's
// DEL ends a sandbox: one that comes late may name a netns that has another sandbox by now.
Sandbox* Enrolment::find_for_del(const CniCall& call, const Fd& netns) {
  if (Sandbox* sandbox = registry_.find(call.container_id)) return sandbox;
  if (netns) {
    const auto cookie = netns_cookie(netns.get());
    const Sandbox* found = cookie ? registry_.find_cookie(*cookie) : nullptr;
    if (found != nullptr && found->facts.container_id.starts_with(recovered_prefix))
      return registry_.find(found->facts.container_id);
  }
  if (call.pod_name.empty()) return nullptr;
  for (auto& [id, candidate] : registry_.all()) {
    const SandboxFacts& facts = candidate.facts;
    if (id.starts_with(recovered_prefix) && facts.pod_name == call.pod_name &&
        facts.pod_namespace == call.pod_namespace && facts.pod_uid == call.pod_uid) {
      return &candidate;
    }
  }
  return nullptr;
}

void Enrolment::del(const CniCall& call, const Fd& netns, const Reply& reply) {
  give_up_waiting(call);
  Sandbox* sandbox = find_for_del(call, netns);
  if (sandbox == nullptr) {
    reply({});
    return;
  }
  auto& attachments = sandbox->facts.attachments;
  const std::string id = sandbox->facts.container_id;
  std::erase_if(attachments, [&](const Attachment& attachment) {
    return attachment.ifname == call.ifname || id.starts_with(recovered_prefix);
  });
  if (!attachments.empty()) {
    if (netns) {
      if (auto found = addresses_in(netns.get())) sandbox->facts.netns_addresses = std::move(*found);
    }
    record_anew(*sandbox);
    converge(id, Reconciler::OnFailure::keep, [reply](const Result<>&) { reply({}); });
    return;
  }
  release(id, [reply, id](const Result<>& result) {
    if (result || result.error().code == make_error_code(Errc::not_found)) {
      reply({});
    } else {
      // Tried again in the background; the runtime need not wait for it.
      spdlog::warn("sandbox not fully released yet container={} error=\"{}\"", id, result.error().message());
      reply({CniCode::try_again, "heddle: " + result.error().message(), "the agent goes on trying"});
    }
  });
}

void Enrolment::check(const CniCall& call, const Fd& netns, const Reply& reply) {
  const Sandbox* sandbox = registry_.find(call.container_id);
  const auto cookie = netns_cookie(netns.get());
  if (sandbox == nullptr || !cookie || sandbox->facts.netns_cookie != *cookie) {
    reply({CniCode::unknown_container, "heddle-agent does not know this sandbox",
           "it was made before heddle was installed, or with another network namespace; recreate the pod"});
    return;
  }
  if (auto verified = verify(*sandbox); !verified) {
    reply({CniCode::check_failed, "heddle: " + verified.error().message(),
           "the agent repairs it at its next sweep; see `heddle check`"});
    return;
  }
  reply({CniCode::ok, "", "", sandbox->spec.meshed});
}

void Enrolment::collect_garbage(const CniCall& call, const Reply& reply) {
  struct Collection {
    std::size_t left = 1;
    std::string errors;
  };
  auto collection = std::make_shared<Collection>();
  const auto one_done = [collection, reply] {
    if (--collection->left > 0) return;
    if (collection->errors.empty()) {
      reply({});
    } else {
      reply({CniCode::try_again, "heddle: " + collection->errors, "the agent goes on trying"});
    }
  };
  for (const auto& id : registry_.ids()) {
    Sandbox& sandbox = *registry_.find(id);
    auto& attachments = sandbox.facts.attachments;
    const auto before = attachments.size();
    std::erase_if(attachments, [&](const Attachment& attachment) {
      const auto is_valid = [&](const auto& valid) {
        return valid.first == id && valid.second == attachment.ifname;
      };
      return attachment.network == call.network &&
             std::none_of(call.valid_attachments.begin(), call.valid_attachments.end(), is_valid);
    });
    if (attachments.size() == before) continue;
    ++collection->left;
    const auto done = [collection, one_done, id](const Result<>& result) {
      if (!result) collection->errors += id + ": " + result.error().message() + "; ";
      one_done();
    };
    spdlog::info("attachment collected container={} reason=\"not among the runtime's valid ones\"", id);
    if (attachments.empty()) {
      release(id, done);
    } else {
      record_anew(sandbox);
      converge(id, Reconciler::OnFailure::keep, done);
    }
  }
  one_done();
}

CniAnswer Enrolment::status() const {
  if (recovered_) return {};
  return {CniCode::not_available, "heddle-agent is still starting", "wait; see its log if this lasts"};
}

// The runtime may be faster than the watch: the kubelet knows the pod before the agent does.
bool Enrolment::must_wait_for_source(const CniCall& call) const {
  return directory_.enabled() && !call.pod_name.empty() &&
         !directory_.find(call.pod_namespace, call.pod_name, call.pod_uid);
}

void Enrolment::wait_for_source(CniCall call, Fd netns, Reply reply) {
  spdlog::debug("ADD waits for the source container={} pod={}/{}", call.container_id, call.pod_namespace,
                call.pod_name);
  auto waiting = std::make_unique<WaitingForSource>();
  waiting->call = std::move(call);
  waiting->netns = std::move(netns);
  waiting->reply = std::move(reply);
  waiting->ticket = next_ticket_++;
  const auto ticket = waiting->ticket;
  const auto* asked = waiting_.emplace_back(std::move(waiting)).get();
  const CniCall& about = asked->call;
  const bool can_be_asked =
      directory_.look_up(about.pod_namespace, about.pod_name, about.pod_uid, question_deadline,
                         [this, alive = alive_, ticket, &loop = loop_](PodAnswer answer) {
                           loop.post([this, alive, ticket, answer = std::move(answer)] {
                             if (*alive) source_answered(ticket, answer);
                           });
                         });
  if (can_be_asked) return;
  waiting_.back()->deadline = loop_.after(source_patience, [this, it = waiting_.back().get()] {
    it->expired = true;
    wake_waiting();
  });
}

void Enrolment::source_answered(std::uint64_t ticket, PodAnswer answer) {
  for (auto& waiting : waiting_) {
    if (waiting->ticket != ticket) continue;
    waiting->answer = std::move(answer);
    break;  // a ticket is one request's
  }
  wake_waiting();
}

// What the source said when asked, or did not: then only what is certainly not meshed starts.
void Enrolment::add_unseen(WaitingForSource& waiting) {
  PodAnswer& answer = *waiting.answer;
  if (!answer.pod) {
    SandboxFacts facts;
    facts.pod_namespace = waiting.call.pod_namespace;
    facts.pod_name = waiting.call.pod_name;
    facts.annotations = waiting.call.annotations;
    if (auto may = may_start_unseen(facts, waiting.call.annotations_told, answer, node_); !may) {
      ++totals_.failed;
      waiting.reply(explain_failure(may.error()));
      return;
    }
    // Until the source catches up: known, and not meshed.
    answer.pod.emplace();
    if (answer.namespace_annotations) answer.pod->namespace_annotations = *answer.namespace_annotations;
  }
  add(std::move(waiting.call), std::move(waiting.netns), std::move(waiting.reply), false,
      std::move(answer.pod));
}

// The runtime took an ADD back that still waits: it must not enrol what is gone by then.
void Enrolment::give_up_waiting(const CniCall& del) {
  std::vector<std::unique_ptr<WaitingForSource>> given_up;
  for (auto& waiting : waiting_) {
    if (waiting->call.container_id == del.container_id && waiting->call.ifname == del.ifname)
      given_up.push_back(std::move(waiting));
  }
  std::erase(waiting_, nullptr);
  for (const auto& waiting : given_up) {
    waiting->reply(
        explain_failure(make_error(Errc::unavailable, "a DEL of the same interface came meanwhile")));
  }
}

void Enrolment::wake_waiting() {
  std::vector<std::unique_ptr<WaitingForSource>> ready;
  for (auto& waiting : waiting_) {
    const CniCall& call = waiting->call;
    if (waiting->expired || waiting->answer || !must_wait_for_source(call)) {
      ready.push_back(std::move(waiting));
    }
  }
  std::erase(waiting_, nullptr);
  for (auto& waiting : ready) {
    if (waiting->answer && must_wait_for_source(waiting->call)) {
      add_unseen(*waiting);
      continue;
    }
    add(std::move(waiting->call), std::move(waiting->netns), std::move(waiting->reply), false);
  }
}

}  // namespace heddle::agent
