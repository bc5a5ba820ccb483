// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "proxy/discovery/directory.h"
#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

class Loop;

// The process's conversation with control (GetProfile and Get of linkerd2-proxy-api): one stream per address
// and client namespace, shared by the workers, kept while somebody uses the entry and a minute longer. When
// control goes away the last known state stays; after a reconnect the first update replaces it.
//
// Fails closed: an address that control has never answered for stays pending and, after `answer_timeout`,
// becomes `not_found` with `unavailable` set - it is not dialled in plaintext, as it might be a meshed pod's.
// It turns into what it is as soon as control answers. An address that control says it does not know
// (NotFound, InvalidArgument, a profile without service or endpoint) is an unmeshed `endpoint`.
class Discovery {
 public:
  struct Options {
    std::string address;        // control's Destination service, HOST:PORT
    std::string trust_anchors;  // PEM file; read again when it changed. Empty: no TLS (tests only)
    std::string
        server_name;        // heddle-control.<control-ns>.serviceaccount.identity.<control-ns>.<trust-domain>
    std::string node_name;  // for the context token
    std::chrono::milliseconds answer_timeout{3'000};
    std::chrono::milliseconds min_backoff{100};
    std::chrono::milliseconds max_backoff{10'000};
    std::chrono::milliseconds not_found_retry{30'000};  // ask again for what control did not know
    std::chrono::milliseconds idle{60'000};             // entries unused for so long are forgotten
    // Per worker; beyond it the address that was dialled the longest time ago gives way, and when connections
    // use them all, new ones are refused.
    std::size_t max_entries = 10'000;
  };
  // Starts the thread; connects lazily. Errors: unreadable trust anchors. `telemetry` (may be null) is used
  // on the discovery thread only.
  static Result<std::unique_ptr<Discovery>> start(Options options, std::unique_ptr<Telemetry> telemetry);
  virtual ~Discovery() = default;  // after the directories

  // A worker's view; call on its thread or before it runs, destroy on it or after it ended.
  virtual std::unique_ptr<Directory> make_directory(Loop& loop) = 0;

  // Has control been reached yet (its identity verified)? Called (once, on the discovery thread) when it
  // first has; it is looked for from the start, without waiting for a look-up.
  virtual void on_first_answer(std::function<void()> callback) = 0;

  // JSON of what is known, for /state and /explain; any thread but a worker's. `explain` answers for one
  // address as seen from a namespace: state, authority, endpoints with identity and hint, whether control is
  // connected. It waits for nothing: `reply` is called once, on the discovery thread, as soon as the address
  // is known. One that nobody has dialled yet is asked for, which takes `answer_timeout` at most. Destruction
  // drops replies that are still owed.
  using Reply = std::function<void(std::string json)>;
  virtual std::string state_json() const = 0;
  virtual void explain(const std::string& ns, const SocketAddress& address, Reply reply) = 0;
};

}  // namespace heddle::proxy
