// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_client.h"

#include <nghttp2/nghttp2.h>

#include <charconv>
#include <utility>

namespace heddle::proxy::http {
namespace {

// What gRPC tells apart; everything else is an error of the server.
Abort reason_of_reset(std::uint32_t error_code) {
  if (error_code == NGHTTP2_CANCEL) return Abort::cancelled;
  return error_code == NGHTTP2_ENHANCE_YOUR_CALM ? Abort::overloaded : Abort::reset;
}

}  // namespace

// One request of ours, as answerer of an exchange.
class ClientStream final : public H2Stream, private Peer {
 public:
  ClientStream(H2Client& client, ResponsePeer& requester, bool to_head)
      : client_(client), requester_(&requester), to_head_(to_head) {}
  Peer* as_peer() { return this; }

 private:
  void on_header(std::string_view name, std::string_view value) override;
  void on_headers_end(bool end_stream) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_sent(std::size_t bytes) override;
  void on_close(std::uint32_t error_code) override;

  void data(std::span<const std::byte> bytes, bool end) override { send(bytes, end); }
  void trailers(Fields&& trailers) override { send_trailers(std::move(trailers)); }
  void abort(Abort) override;
  void consumed(std::size_t bytes) override { return_credit(bytes); }

  void respond(bool end_stream);
  ResponsePeer* take_requester();

  H2Client& client_;
  ResponsePeer* requester_;
  std::unique_ptr<ResponseHead> head_;
  std::unique_ptr<Fields> trailers_;
  const bool to_head_;
  bool responded_ = false;
  bool too_large_ = false;
};

H2Client::H2Client(Engine& engine, std::unique_ptr<Stream> stream, H2ClientOwner& owner,
                   const H2Settings& settings, bool mesh, ByteBudget budget)
    : H2Session(engine, std::move(stream), false, settings, std::move(budget)),
      owner_(owner),
      mesh_(mesh),
      idle_since_(engine.now()) {}

bool H2Client::available() const {
  return !retired() && request_allowed() && streams() < peer_max_streams();
}

Peer* H2Client::start(const RequestHead& head, bool end, ResponsePeer& requester) {
  const bool from_h1 = head.version != Version::http2;
  std::string orig_proto;
  if (mesh_ && from_h1) {
    orig_proto = to_string(head.version);
    if (head.absolute_form) orig_proto += "; absolute-form";
  }
  auto stream = std::make_unique<ClientStream>(*this, requester, head.is_head());
  ClientStream& made = *stream;
  const std::int32_t id = submit_request(head, end, made, orig_proto);
  if (id < 0) {
    requester.abort(Abort::unprocessed);
    engine_.bury(std::move(stream));
    return nullptr;
  }
  attach(std::move(stream), id);
  return made.as_peer();
}

std::unique_ptr<Stream> H2Client::open_tunnel(std::string_view authority, std::string_view client) {
  auto tunnel = std::make_unique<TunnelEnd>(engine_, TunnelEnd::Side::client);
  TunnelEnd& made = *tunnel;
  const std::int32_t id = submit_connect(authority, client, made);
  if (id < 0) {
    engine_.bury(std::move(tunnel));
    return nullptr;
  }
  attach(std::move(tunnel), id);
  return made.take_stream();
}

void H2Client::retire() {
  retired_ = true;
  if (streams() == 0) begin_shutdown();
}

void H2Client::on_goaway() {
  retired_ = true;
}

void H2Client::on_capacity() {
  if (streams() == 0) {
    idle_since_ = engine_.now();
    if (retired_ && !closed()) begin_shutdown();
  }
  owner_.client_available(*this);
}

void ClientStream::on_header(std::string_view name, std::string_view value) {
  if (responded_) {
    if (!trailers_) trailers_ = std::make_unique<Fields>();
    // Without some of them the message would look whole, and say something else: a grpc-status may be
    // missing.
    if (trailers_->size() >= max_fields ||
        trailers_->text_size() + name.size() + value.size() > max_trailer_bytes) {
      too_large_ = true;
    } else {
      trailers_->add(name, value);
    }
    return;
  }
  if (!head_) head_ = std::make_unique<ResponseHead>();
  if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), head_->status);
    return;
  }
  if (head_->fields.size() >= max_fields ||
      head_->fields.text_size() + name.size() + value.size() > max_head_bytes) {
    too_large_ = true;
    return;
  }
  head_->fields.add(name, value);
}

void ClientStream::on_headers_end(bool end_stream) {
  if (requester_ == nullptr) return;
  if (!responded_) return respond(end_stream);
  if (too_large_) {
    reset(NGHTTP2_ENHANCE_YOUR_CALM);
    std::exchange(requester_, nullptr)->abort(Abort::protocol);
    return;
  }
  ResponsePeer* requester = take_requester();
  if (trailers_) {
    settle_trailers(*trailers_);
    requester->trailers(std::move(*trailers_));
  } else {
    requester->data({}, true);
  }
}

void ClientStream::respond(bool end_stream) {
  const auto head = std::move(head_);
  // nghttp2 lets any three digits through.
  if (!head || too_large_ || head->status < 100) {
    reset(NGHTTP2_PROTOCOL_ERROR);
    std::exchange(requester_, nullptr)->abort(Abort::protocol);
    return;
  }
  head->version = Version::http2;
  if (head->status < 200) return requester_->inform(*head);
  responded_ = true;
  if (const auto settled = settle(*head, to_head_, false); !settled) {
    reset(NGHTTP2_PROTOCOL_ERROR);
    std::exchange(requester_, nullptr)->abort(Abort::protocol);
    return;
  }
  strip_hop_by_hop(head->fields);
  if (end_stream) head->content = Content::none;
  // nghttp2 saw to it that content-length and END_STREAM agree.
  ResponsePeer* requester = end_stream ? take_requester() : requester_;
  requester->respond(*head, end_stream);
}

// The answer is whole. What is left of the request will never be sent: without a reset its stream would stay
// open for ever.
ResponsePeer* ClientStream::take_requester() {
  if (requester_ != nullptr && !all_sent()) reset(NGHTTP2_CANCEL);
  return std::exchange(requester_, nullptr);
}

void ClientStream::on_data(std::span<const std::byte> bytes) {
  if (requester_ == nullptr) return return_credit(bytes.size());
  requester_->data(bytes, false);
}

void ClientStream::on_end() {
  if (ResponsePeer* requester = take_requester()) requester->data({}, true);
}

void ClientStream::on_sent(std::size_t bytes) {
  if (requester_ != nullptr) requester_->consumed(bytes);
}

void ClientStream::on_close(std::uint32_t error_code) {
  ResponsePeer* requester = std::exchange(requester_, nullptr);
  if (requester == nullptr) return;
  Abort reason = Abort::connection;
  if (reset_by_peer()) reason = reason_of_reset(error_code);
  if (error_code == NGHTTP2_REFUSED_STREAM) reason = Abort::unprocessed;
  // The whole connection broke: a request without side effects may be repeated (RFC 9110 9.2.2).
  if (error_code == NGHTTP2_CONNECT_ERROR && client_.closed() && !responded_) reason = Abort::stale;
  if (stalled()) reason = Abort::timeout;
  requester->abort(reason);
}

void ClientStream::abort(Abort) {
  requester_ = nullptr;
  reset(NGHTTP2_CANCEL);
}

}  // namespace heddle::proxy::http
