// SPDX-License-Identifier: Apache-2.0
#include "control/certify/certifier.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/certify/signing_request.h"
#include "control/source/annotations.h"

namespace heddle::control {
namespace {

// DNS labels, as identities are made of; also keeps logs free of what a peer made up.
bool is_identity(std::string_view text) {
  if (text.empty() || text.size() > 253 || text.front() == '.' || text.back() == '.') return false;
  return text.find("..") == std::string_view::npos && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '.' || c == '_';
         });
}

}  // namespace

bool node_may_have(const source::Snapshot& snapshot, std::string_view node, std::string_view identity,
                   const MeshNames& names) {
  return std::ranges::any_of(snapshot.pods_on(node), [&](const source::Pod* pod) {
    return !pod->finished() && !pod->host_network &&
           source::identity_name(pod->service_account, pod->meta.ns, names.control_namespace,
                                 names.trust_domain) == identity;
  });
}

bool Certifier::within_rate(const std::string& node) {
  const std::lock_guard lock(mutex_);
  return rates_.try_emplace(node, issues_per_second, issues_at_once)
      .first->second.take(std::chrono::steady_clock::now());
}

bool Certifier::within_failure_rate() {
  const std::lock_guard lock(mutex_);
  return failures_.take(std::chrono::steady_clock::now());
}

std::variant<std::string, Refused> Certifier::who_asks(const Request& request,
                                                       const source::Snapshot& snapshot, bool counts) {
  const auto too_often = [&](const std::string& node) { return counts && !within_rate(node); };
  const auto slow_down = [](const std::string& node) {
    return Refused{Refusal::rate, "node " + node + " asks for more than 50 certificates a second"};
  };
  if (request.proof != nullptr) {
    const TokenOwner& asker = request.proof->agent ? *request.proof->agent : request.proof->pod;
    // Before the proof is checked: the first attempt, which counts, may be the one that has to wait.
    const source::Pod* pod = snapshot.find_pod(asker.ns, asker.pod_name);
    std::string node = pod == nullptr ? std::string() : pod->node_name;
    if (too_often(node)) return slow_down(node);
    if (auto refused = check_proof(*request.proof, request.identity, snapshot, names_)) return *refused;
    return node;
  }
  const auto node = tokens_.check(request.token);
  if (!node) return Refused{Refusal::token, node.error().detail};
  if (too_often(*node)) return slow_down(*node);
  if (!node_may_have(snapshot, *node, request.identity, names_)) {
    return Refused{Refusal::not_scheduled, "no pod with identity " + request.identity +
                                               " is scheduled on node " + *node +
                                               ": a node only gets the identities of its own pods"};
  }
  return *node;
}

std::variant<IssuedCertificate, Refused> Certifier::decide(const Request& request,
                                                           const source::Snapshot& snapshot, bool counts) {
  if (!is_identity(request.identity)) return Refused{Refusal::bad_request, "the identity is not a DNS name"};
  const auto asker = who_asks(request, snapshot, counts);
  if (const auto* refused = std::get_if<Refused>(&asker)) return *refused;
  const std::string& node = std::get<std::string>(asker);
  const auto key = check_signing_request(request.csr, request.identity);
  if (!key) return Refused{Refusal::bad_request, key.error().detail};
  auto issued = authority_()->issue(*key, request.identity);
  if (!issued) return Refused{Refusal::unavailable, issued.error().detail};
  spdlog::info("certificate issued identity={} node={} valid_until_unix={}", request.identity, node,
               Clock::to_time_t(issued->valid_until));
  return std::move(*issued);
}

Refused Certifier::refuse(const std::string& identity, Refused refused) {
  const auto reason = static_cast<std::size_t>(refused.reason);
  counters_.refused[reason] += 1;
  // Whoever sends garbage must not fill the log.
  if (within_failure_rate()) {
    spdlog::warn("certificate refused reason={} identity={} why=\"{}\"", refusal_names[reason],
                 is_identity(identity) ? identity : "?", refused.why);
  }
  return refused;
}

std::variant<IssuedCertificate, Refused> Certifier::certify(const Request& request,
                                                            const source::Snapshot& snapshot,
                                                            Attempt attempt) {
  const bool begins = attempt == Attempt::only || attempt == Attempt::first;
  const bool may_wait = attempt == Attempt::first || attempt == Attempt::again;
  auto outcome = decide(request, snapshot, begins);
  if (const auto* refused = std::get_if<Refused>(&outcome)) {
    if (may_wait && refused->reason == Refusal::not_scheduled) return outcome;
    return refuse(request.identity, *refused);
  }
  counters_.issued += 1;
  return outcome;
}

}  // namespace heddle::control
