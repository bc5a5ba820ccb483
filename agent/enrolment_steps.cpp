// SPDX-License-Identifier: Apache-2.0
// What each step of a plan does. Their order is plan.cpp's.
#include "agent/broker/broker.h"
#include "agent/enrolment.h"
#include "agent/proxy_link/message.h"
#include "api/node.pb.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds settle_look{100};

}  // namespace

void Enrolment::perform(const std::string& id, Step step, const Goal& goal, Reconciler::Done done) {
  Sandbox* sandbox = registry_.find(id);
  if (sandbox == nullptr) {
    done(
        make_error(Errc::internal, "step " + std::string(to_string(step)) + " for an unknown sandbox " + id));
    return;
  }
  spdlog::debug("step={} container={} pod={}/{} generation={}", to_string(step), id, sandbox->spec.ns,
                sandbox->spec.name, goal.generation);
  switch (step) {
    case Step::record:
      sandbox->rules = reconciler_.progress(id).installed ||
                       (goal.kind == Goal::Kind::meshed && goal.mode == Mode::iptables);
      store_.put(*sandbox, std::move(done));
      return;
    case Step::forget:
      store_.erase(id, std::move(done));
      return;
    case Step::offer:
      offer(*sandbox, std::move(done));
      return;
    case Step::settle:
      settle(id, goal, std::chrono::steady_clock::now(), std::move(done));
      return;
    case Step::withdraw:
      withdraw(*sandbox, goal);
      done({});
      return;
    default:
      done(perform_now(*sandbox, step));
      return;
  }
}

void Enrolment::offer(Sandbox& sandbox, Reconciler::Done done) {
  const HeldSockets* held = escrow_.find(sandbox.facts.container_id);
  if (held == nullptr || !held->outbound || !held->inbound) {
    done(make_error(Errc::internal, "no listeners to offer"));
    return;
  }
  node::Pod pod;
  describe_pod(sandbox, node_, pod);
  links_->offer(pod, held->outbound.get(), held->inbound.get(), [done = std::move(done)] { done({}); });
}

// Until peers were told, and a proxy is there that takes what waits in the listeners; at once when the pod is
// wanted otherwise meanwhile.
void Enrolment::settle(std::string id, Goal goal, std::chrono::steady_clock::time_point since,
                       Reconciler::Done done) {
  const auto waited = std::chrono::steady_clock::now() - since;
  const Sandbox* sandbox = registry_.find(id);
  const bool moot = sandbox == nullptr || !(reconciler_.goal(id) == goal);
  const bool taken = sandbox != nullptr && links_->acknowledged(sandbox->pod_id);
  if (moot || (waited >= release_settle_ && (taken || waited >= 5 * release_settle_))) {
    settling_.erase(id);
    done({});
    return;
  }
  auto& timer = settling_[id];
  timer = loop_.after(settle_look, [this, id = std::move(id), goal, since, done = std::move(done)] {
    settle(id, goal, since, done);
  });
}

// A pod that lives on keeps the connections that it has.
void Enrolment::withdraw(const Sandbox& sandbox, const Goal& goal) {
  const bool lives_on = goal.kind == Goal::Kind::known;
  if (lives_on) upkeep_[sandbox.facts.container_id].released = std::chrono::steady_clock::now();
  links_->withdraw(sandbox.pod_id, sandbox.facts.netns_cookie,
                   lives_on ? ProxyLinks::Withdrawal::released : ProxyLinks::Withdrawal::gone);
}

Result<> Enrolment::perform_now(Sandbox& sandbox, Step step) {
  const std::string& id = sandbox.facts.container_id;
  Datapath* datapath = interception_.datapath();
  switch (step) {
    case Step::listen: {
      const auto netns = netns_of(sandbox);
      if (!netns) return netns.error();
      return open_listeners(*netns, sandbox.outbound_port, sandbox.inbound_port, *escrow_.find(id));
    }
    case Step::prepare: {
      const auto netns = netns_of(sandbox);
      if (!netns) return netns.error();
      if (datapath == nullptr) return make_error(Errc::unsupported, "eBPF is not open");
      return datapath->prepare(intercepted(sandbox), *netns, escrow_.find(id)->inbound.get());
    }
    case Step::enrol:
      if (datapath == nullptr) return make_error(Errc::unsupported, "eBPF is not open");
      return datapath->set_enrolled(intercepted(sandbox), true);
    case Step::install: {
      const auto netns = netns_of(sandbox);
      if (!netns) return netns.error();
      auto redirect = interception_.redirect();
      if (!redirect) return redirect.error();
      return (*redirect)->install(intercepted(sandbox), *netns);
    }
    case Step::disenrol: {
      if (datapath == nullptr) return {};
      auto result = datapath->set_enrolled(intercepted(sandbox), false);
      if (!result && result.error().code == make_error_code(Errc::not_found)) return {};
      return result;
    }
    case Step::unprepare:
      return datapath == nullptr ? Result<>() : datapath->remove(intercepted(sandbox));
    case Step::uninstall: {
      const auto netns = netns_of(sandbox);
      if (!netns) return {};  // the rules went with their namespace
      auto redirect = interception_.redirect();
      if (!redirect) return redirect.error();
      return (*redirect)->remove(*netns);
    }
    case Step::close:
      escrow_.close(id);
      return {};
    case Step::record:
    case Step::forget:
    case Step::offer:
    case Step::settle:
    case Step::withdraw:
      break;
  }
  return make_error(Errc::internal, "unreachable step");
}

// The held descriptor, else the path (or own pin) if it still leads to the same netns.
Result<int> Enrolment::netns_of(Sandbox& sandbox) {
  const std::string& id = sandbox.facts.container_id;
  if (HeldSockets* held = escrow_.find(id); held != nullptr && held->netns) return held->netns.get();
  const std::string path = netns_path(sandbox);
  auto opened = open_netns(path);
  if (!opened) return opened.error();
  const auto cookie = netns_cookie(opened->get());
  if (!cookie) return cookie.error();
  if (*cookie != sandbox.facts.netns_cookie) {
    return make_error(Errc::not_found, path + " is another network namespace now");
  }
  const int fd = opened->get();
  HeldSockets* held = escrow_.find(id);
  if (held == nullptr) {
    HeldSockets fresh;
    fresh.netns = std::move(*opened);
    escrow_.keep(id, std::move(fresh));
  } else {
    held->netns = std::move(*opened);
  }
  return fd;
}

Result<std::vector<Fd>> Enrolment::make_sockets(std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
  const Sandbox* found = registry_.find_pod(pod_id);
  if (found == nullptr) return make_error(Errc::not_found, "no pod has the id " + std::to_string(pod_id));
  Sandbox* sandbox = registry_.find(found->facts.container_id);
  // Released, and nothing redirects it: the connections that it has left need no tag.
  const auto since_release = std::chrono::steady_clock::now() - upkeep_[sandbox->facts.container_id].released;
  if (!sandbox->spec.meshed && !reconciler_.progress(sandbox->facts.container_id).listening &&
      since_release < links_->drain_grace()) {
    const auto netns = netns_of(*sandbox);
    if (!netns) return netns.error();
    auto made = make_mesh_sockets(*netns, ipv6, count, [](int) { return Result<>(); });
    escrow_.close(sandbox->facts.container_id);
    return made;
  }
  const HeldSockets* held = escrow_.find(sandbox->facts.container_id);
  if (held == nullptr || !held->netns) {
    return make_error(Errc::not_found, "the pod is not meshed");
  }
  if (sandbox->mode == Mode::iptables) {
    return make_mesh_sockets(held->netns.get(), ipv6, count,
                             [&](int fd) { return prepare_marked(fd, interception_.mark()); });
  }
  Datapath* datapath = interception_.datapath();
  if (datapath == nullptr) return make_error(Errc::unsupported, "eBPF is not open");
  return make_mesh_sockets(held->netns.get(), ipv6, count,
                           [&](int fd) { return datapath->tag_socket(fd, pod_id); });
}

Result<> Enrolment::verify(const Sandbox& sandbox) {
  if (!sandbox.spec.meshed) return {};
  if (!sandbox.failure.empty()) return make_error(Errc::not_found, sandbox.failure);
  const HeldSockets* held = escrow_.find(sandbox.facts.container_id);
  if (held == nullptr || !held->outbound || !held->inbound || !held->netns) {
    return make_error(Errc::not_found, "the agent holds no listeners of the pod");
  }
  if (auto ok = check_listener(held->outbound.get(), sandbox.outbound_port); !ok) return ok;
  if (auto ok = check_listener(held->inbound.get(), sandbox.inbound_port); !ok) return ok;
  if (sandbox.mode == Mode::ebpf) {
    if (interception_.datapath() == nullptr) return make_error(Errc::not_found, "eBPF is not open");
    return interception_.datapath()->verify(intercepted(sandbox), held->netns.get());
  }
  auto redirect = interception_.redirect();
  if (!redirect) return redirect.error();
  return (*redirect)->verify(intercepted(sandbox), held->netns.get());
}

}  // namespace heddle::agent
