// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/backoff.h"
#include "control/source/kubernetes/watch_decoder.h"

namespace heddle::source::kubernetes {

// PURE: decides what to ask the API server next about one kind of object. It lists in pages, then watches
// from where the list ended; when a watch ends it watches on, and when what it knows is too old, or cannot be
// trusted, it lists again. The owner does what next() says and reports how that went with exactly one of the
// functions below it (on_event() any number of times before). Not thread-safe.
class ListWatch {
 public:
  struct Policy {
    int page = 500;  // objects per page
    // The server ends a watch after this many seconds, to twice of it, chosen at random.
    std::chrono::seconds watch_for{300};
    // Between questions that the server answers other than hoped for.
    Backoff::Policy backoff{std::chrono::milliseconds(100), std::chrono::seconds(10), 0.5};
    // Between attempts to reach a server that is not there: they cost it nothing, and what it publishes when
    // it is back is to be known soon. Where very many clients share a server, longer.
    Backoff::Policy outage{std::chrono::milliseconds(100), std::chrono::milliseconds(500), 0.5};
  };

  struct Step {
    std::chrono::milliseconds wait{0};  // before asking
    std::string target;                 // path and query
    bool watch = false;
    bool first_page = false;  // what pages before it brought is void
  };

  // `path` is that of the collection: "/api/v1/pods", or with a selection "/api/v1/pods?fieldSelector=...".
  // Seeds that differ make clients that spread over time.
  ListWatch(std::string path, Policy policy, std::uint64_t seed)
      : path_(std::move(path)),
        policy_(policy),
        backoff_(policy.backoff, seed * 0x9e3779b97f4a7c15U),
        outage_(policy.outage, seed * 0x9e3779b97f4a7c15U),
        random_(seed * 0x9e3779b97f4a7c15U | 1) {}

  Step next();

  // A page of a list. True if it was the last one: the list is complete, and what it did not name is gone.
  bool on_page(const std::string& resource_version, const std::string& continue_token);
  // Any status but 200, of a list or of a watch's beginning; `retry_after` is the header's.
  void on_status(int status, std::optional<std::chrono::seconds> retry_after);
  // No connection, or it broke, or nothing was heard for too long.
  void on_lost();
  // The body of a page was larger than the client takes: smaller pages are asked for.
  void on_page_too_large();
  // The answer made no sense (not JSON, an event beyond the limit): nothing after it can be trusted.
  void on_nonsense();
  // An event of the running watch, but no `error`.
  void on_event(const std::string& resource_version);
  // An ERROR event, which ends a watch. 410 is the one that comes (what is known is too old); after any other
  // the place is lost too.
  void on_error_event();
  // The watch ended as it should.
  void on_watch_end();

  // The list was complete at least once since construction.
  bool synced() const { return synced_; }
  // A watch is what next() asks for: no list is under way.
  bool watching() const { return watching_; }

 private:
  void list_again();
  void back_off(std::chrono::milliseconds at_least = std::chrono::milliseconds(0));

  std::string path_;
  Policy policy_;
  Backoff backoff_;
  Backoff outage_;
  std::uint64_t random_;
  std::chrono::milliseconds wait_{0};
  bool watching_ = false;
  bool synced_ = false;
  bool fruitful_ = false;         // the running watch brought an event: the waits begin at the shortest
  std::string continue_;          // of the list; empty: first page
  std::string resource_version_;  // to watch from
};

}  // namespace heddle::source::kubernetes
