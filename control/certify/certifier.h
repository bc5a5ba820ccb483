// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>

#include "control/certify/authority.h"
#include "control/certify/proof.h"
#include "control/certify/rate.h"
#include "control/certify/refusal.h"
#include "control/certify/tokens.h"
#include "control/discovery/endpoints.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// Whether a pod that may run on the node has this identity.
bool node_may_have(const source::Snapshot& snapshot, std::string_view node, std::string_view identity,
                   const MeshNames& names);

// Which of its attempts a request makes. Only the first one counts against the node's rate: what waits for
// its pod is decided on again with every snapshot, and must not use up what the node may ask for.
enum class Attempt : std::uint8_t {
  only,   // the first, and a refusal is final
  first,  // a refusal for want of a pod is neither logged nor counted: the caller asks again
  again,  // the same, later
  last,   // now a refusal is final
};

// Decides on certificates: who asks (the node's token, or tokens that the API server has reviewed), may it (a
// pod of that identity is scheduled there), is the request sound; then signs. Thread-safe.
class Certifier {
 public:
  struct Request {
    std::string identity;
    std::string token;
    std::string csr;               // DER
    const Proof* proof = nullptr;  // the token, reviewed; null: it is a node's
  };
  struct Counters {
    std::atomic<std::uint64_t> issued{0};
    std::array<std::atomic<std::uint64_t>, refusal_names.size()> refused{};
  };
  using CurrentAuthority = std::function<std::shared_ptr<const Authority>()>;

  Certifier(MeshNames names, NodeTokens tokens, CurrentAuthority authority)
      : names_(std::move(names)), tokens_(std::move(tokens)), authority_(std::move(authority)) {}

  std::variant<IssuedCertificate, Refused> certify(const Request& request, const source::Snapshot& snapshot,
                                                   Attempt attempt = Attempt::only);
  // Counts and logs a refusal that was decided elsewhere, and passes it on.
  Refused refuse(const std::string& identity, Refused refused);
  const Counters& counters() const { return counters_; }

 private:
  // Per node, and one for whoever has no good token: enough for a node's restart with every identity new.
  static constexpr double issues_per_second = 50;
  static constexpr double issues_at_once = 1000;
  static constexpr double failures_per_second = 20;
  static constexpr double failures_at_once = 100;

  std::variant<IssuedCertificate, Refused> decide(const Request& request, const source::Snapshot& snapshot,
                                                  bool counts);
  // The node that the certificate is for, if it may be given.
  std::variant<std::string, Refused> who_asks(const Request& request, const source::Snapshot& snapshot,
                                              bool counts);
  bool within_rate(const std::string& node);
  bool within_failure_rate();

  const MeshNames names_;
  const NodeTokens tokens_;
  const CurrentAuthority authority_;
  Counters counters_;
  std::mutex mutex_;
  std::map<std::string, Rate> rates_;  // only of nodes with good tokens
  Rate failures_{failures_per_second, failures_at_once};
};

}  // namespace heddle::control
