// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "proxy/http/client_waiter.h"
#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/pods/byte_budget.h"
#include "proxy/pods/request_slot.h"

namespace heddle::proxy::http {

// One request on its way from a server-side codec to an upstream: holds the head until it is answered, the
// content's beginning until it is sure that it need not be sent again, and passes everything on. Owns itself:
// dies from the loop when the exchange is over.
class Forward : public Buried, public Peer, protected ClientWaiter {
 public:
  // `budget`: of the pod that the request is served for.
  Forward(Engine& engine, ByteBudget budget) : engine_(engine), answers_(*this), held_(std::move(budget)) {}

  // Takes `head` over (swaps). What Handler::start() has to return.
  Peer* begin(RequestHead& head, bool end, ResponsePeer& requester);

 protected:
  // Finds an upstream: calls use(), refuse(), or waits for one of both. `attempt` counts from 0.
  virtual void route(unsigned attempt) = 0;
  // May this be tried again elsewhere, as far as the upstream is concerned?
  virtual bool retryable(unsigned attempt) = 0;
  virtual void on_respond(ResponseHead& head) = 0;
  // Exactly once. `status` 0: the requester went away before the answer; `error` is empty on success.
  virtual void on_over(std::uint16_t status, std::string_view error) = 0;
  // A trailers-only or trailing grpc-status, when there is one.
  virtual void on_trailers(const Fields& fields) = 0;

  void use(Client& client);
  // Answers in the proxy's own name.
  void refuse(std::uint16_t status, std::string_view reason);
  // An upstream could not be had: tries again where that is allowed, else refuses.
  void upstream_failed(std::uint16_t status, std::string_view reason);

  Engine& engine_;
  RequestHead head_;
  Engine& engine() { return engine_; }
  // All that came of the request is still here and can be sent to another upstream.
  bool holds_content() const { return replay_complete_; }
  std::size_t bytes_in_ = 0, bytes_out_ = 0;
  bool over_ = false;

 private:
  // The upstream's view of us; apart, as both sides call the same functions.
  struct Answers final : ResponsePeer {
    explicit Answers(Forward& owner) : forward(owner) {}
    void inform(const ResponseHead& head) override;
    void respond(ResponseHead& head, bool end) override;
    void switched(std::unique_ptr<Stream> upstream) override;
    void data(std::span<const std::byte> bytes, bool end) override;
    void trailers(Fields&& trailers) override;
    void abort(Abort reason) override;
    void consumed(std::size_t bytes) override;
    Forward& forward;
  };

  // Peer: the requester's calls
  void data(std::span<const std::byte> bytes, bool end) final;
  void trailers(Fields&& trailers) final;
  void abort(Abort reason) final;
  void consumed(std::size_t bytes) final;

  bool may_replay(Abort reason) const;
  void finish(std::uint16_t status, std::string_view error);
  void drop_replay();
  void account() { held_.set(head_.fields.text_size() + replay_.size()); }

  Answers answers_;
  ResponsePeer* requester_ = nullptr;
  Peer* upstream_ = nullptr;
  HeldBytes held_;
  RequestSlot slot_;
  std::string replay_;                // the content so far, while all of it is kept
  std::unique_ptr<Fields> trailers_;  // came before an upstream did
  std::size_t credited_ = 0;          // of the request's content, by earlier upstreams
  std::size_t skip_credit_ = 0;       // what this upstream will credit a second time
  unsigned attempt_ = 0;
  unsigned upstreams_ = 0;  // grows with every change of upstream_
  unsigned informed_ = 0;   // interim responses passed on
  std::uint16_t status_ = 0;
  bool replay_complete_ = true;  // replay_ is all of the content so far
  bool request_ended_ = false;
  bool responded_ = false;
};

}  // namespace heddle::proxy::http
