// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/endpoint.h"

#include <cerrno>

#include "proxy/tls/tls_stream.h"

namespace heddle::proxy::tls {
namespace {

// How long a connection waits for its pod's first certificate: a pod's first millisecond, or a proxy's that
// takes over, must not fail what comes before the answer to a request of a few milliseconds.
constexpr std::chrono::milliseconds certificate_wait{3'000};
constexpr std::chrono::milliseconds certificate_look{5};

// The certificate of an identity if it is valid now.
ContextRef valid_context(const WorkerTls& worker, const std::string& identity) {
  const auto it = worker.contexts.find(identity);
  if (it == worker.contexts.end()) return nullptr;
  return it->second->valid_until > std::chrono::system_clock::now() ? it->second : nullptr;
}

// A handshake from its start to the one call of `done`.
class Pending final : public Handshake, public Accepting::Member, private StreamEvents {
 public:
  Pending(std::shared_ptr<WorkerTls> worker, std::chrono::milliseconds timeout, Done done)
      : worker_(std::move(worker)), done_(std::move(done)), timer_(worker_->loop, [this] {
          finish(make_error(Errc::timeout, "TLS handshake: the peer did not finish it in time"));
        }) {
    timer_.arm(timeout);
  }
  ~Pending() override {
    leave();
    if (stream_) stream_->reset();
  }

  // As the server of this pod.
  void serve(PodRef pod) { as_ = std::move(pod); }

  void give_way() override {
    if (!done_) return;
    as_->load->refusals.count(Refusal::handshake);
    look_timer_.reset();
    if (stream_) {
      stream_->set_events(nullptr);
      refused_ = std::move(stream_);
    }
    fail_later(make_error(Errc::exhausted, "too many TLS handshakes at once from one address"),
               std::move(refused_));
  }

  // Begins when the identity has a certificate; until then nothing is read or sent.
  void wait_for_certificate(std::unique_ptr<Stream> stream, std::string identity, Parameters parameters) {
    refused_ = std::move(stream);
    identity_ = std::move(identity);
    parameters_ = std::move(parameters);
    give_up_ = worker_->loop.now() + certificate_wait;
    look_timer_ = std::make_unique<Timer>(worker_->loop, [this] { look_for_certificate(); });
    look_timer_->arm(certificate_look);
  }

  void begin(std::unique_ptr<TlsStream> stream) {
    stream_ = std::move(stream);
    stream_->set_events(this);
    later([](Pending& self) { self.advance(); });
  }

  // Fails from the loop, not from inside connect() or accept(). `refused` is reset with it.
  void fail_later(Error error, std::unique_ptr<Stream> refused) {
    refused_ = std::move(refused);
    error_ = std::move(error);
    later([](Pending& self) {
      if (self.refused_) self.refused_->reset();
      self.finish(std::move(self.error_));
    });
  }

 private:
  void later(void (*what)(Pending&)) {
    worker_->loop.defer([weak = std::weak_ptr<Pending*>(self_), what] {
      if (const auto self = weak.lock()) what(**self);
    });
  }
  void look_for_certificate() {
    auto own = valid_context(*worker_, identity_);
    if (!own && worker_->loop.now() < give_up_) return look_timer_->arm(certificate_look);
    if (!own) {
      refused_->reset();
      return finish(make_error(Errc::unavailable, "no valid certificate for " + identity_ + " yet"));
    }
    auto made = TlsStream::make(worker_->loop, worker_->lingering, std::move(own), std::move(refused_),
                                std::move(parameters_));
    if (!made) return finish(made.error());
    begin(std::move(*made));
  }

  void on_readable() override { advance(); }
  void on_writable() override { advance(); }

  void advance() {
    if (!stream_) return;
    switch (stream_->handshake()) {
      case IoStatus::would_block:
        return;
      case IoStatus::ok: {
        stream_->set_events(nullptr);
        stream_->announce_early_bytes();
        Established established;
        established.session = stream_->session();
        established.stream = std::move(stream_);
        return finish(std::move(established));
      }
      default: {
        Error failure = stream_->failure();
        stream_->abandon();
        stream_.reset();
        return finish(std::move(failure));
      }
    }
  }

  void finish(Result<Established> result) {
    if (!done_) return;
    timer_.cancel();
    leave();
    look_timer_.reset();
    if (stream_) stream_->set_events(nullptr);
    const Done done = std::move(done_);
    done(std::move(result));  // may destroy this
  }

  std::shared_ptr<WorkerTls> worker_;
  std::unique_ptr<TlsStream> stream_;
  std::unique_ptr<Stream> refused_;  // or waiting for a certificate
  PodRef as_;
  std::string identity_;
  Parameters parameters_;
  std::unique_ptr<Timer> look_timer_;
  Loop::Clock::time_point give_up_{};
  Error error_;
  Done done_;
  std::shared_ptr<Pending*> self_ = std::make_shared<Pending*>(this);
  Timer timer_;
};

class WorkerEndpoint final : public Endpoint {
 public:
  WorkerEndpoint(std::shared_ptr<WorkerTls> worker, std::function<void()> on_destroy)
      : worker_(std::move(worker)), on_destroy_(std::move(on_destroy)) {}
  ~WorkerEndpoint() override {
    if (on_destroy_) on_destroy_();
  }

  std::unique_ptr<Handshake> connect(std::unique_ptr<Stream> stream, PodRef as, std::string expected_identity,
                                     std::string server_name, std::vector<std::string> alpn,
                                     std::chrono::milliseconds timeout, Done done) override {
    auto pending = std::make_unique<Pending>(worker_, timeout, std::move(done));
    if (expected_identity.empty()) {
      pending->fail_later(make_error(Errc::internal, "TLS to a peer without an identity"), std::move(stream));
      return pending;
    }
    start(*pending, std::move(stream), *as,
          {Role::client, std::move(expected_identity), std::move(server_name), std::move(alpn)});
    return pending;
  }

  std::unique_ptr<Handshake> accept(std::unique_ptr<Stream> stream, PodRef as, const IpAddress& from,
                                    std::vector<std::string> alpn, std::chrono::milliseconds timeout,
                                    Done done) override {
    auto pending = std::make_unique<Pending>(worker_, timeout, std::move(done));
    pending->serve(as);
    if (!worker_->accepting.admit(*pending, as->id, from, worker_->loop.now())) {
      as->load->refusals.count(Refusal::handshake);
      pending->fail_later(make_error(Errc::exhausted, "too many TLS handshakes at once towards pod " +
                                                          as->ns + "/" + as->name),
                          std::move(stream));
      return pending;
    }
    start(*pending, std::move(stream), *as, {Role::server, {}, {}, std::move(alpn)});
    return pending;
  }

  bool certified(const Pod& pod) const override { return context(pod) != nullptr; }
  std::size_t closing() const override { return worker_->lingering->size(); }

 private:
  ContextRef context(const Pod& pod) const { return valid_context(*worker_, pod.identity); }

  void start(Pending& pending, std::unique_ptr<Stream> stream, const Pod& as, Parameters parameters) {
    auto own = context(as);
    if (!own) {
      pending.wait_for_certificate(std::move(stream), as.identity, std::move(parameters));
      return;
    }
    auto made = TlsStream::make(worker_->loop, worker_->lingering, std::move(own), std::move(stream),
                                std::move(parameters));
    if (!made) {
      pending.fail_later(made.error(), nullptr);
      return;
    }
    pending.begin(std::move(*made));
  }

  std::shared_ptr<WorkerTls> worker_;
  std::function<void()> on_destroy_;
};

}  // namespace

std::unique_ptr<Endpoint> make_endpoint(std::shared_ptr<WorkerTls> worker, std::function<void()> on_destroy) {
  return std::make_unique<WorkerEndpoint>(std::move(worker), std::move(on_destroy));
}

}  // namespace heddle::proxy::tls
