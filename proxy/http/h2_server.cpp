// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_server.h"

#include <nghttp2/nghttp2.h>

#include <utility>

#include "proxy/http/h2_tunnel.h"

namespace heddle::proxy::http {
namespace {

class H2Server;

std::uint32_t reset_code(Abort reason) {
  switch (reason) {
    case Abort::unprocessed:
      return NGHTTP2_REFUSED_STREAM;
    case Abort::cancelled:
      return NGHTTP2_CANCEL;
    case Abort::overloaded:
      return NGHTTP2_ENHANCE_YOUR_CALM;
    default:
      return NGHTTP2_INTERNAL_ERROR;
  }
}

// One request of the peer, as requester of an exchange.
class ServerStream final : public H2Stream, private ResponsePeer {
 public:
  explicit ServerStream(H2Server& server) : server_(server) {}

 private:
  void on_header(std::string_view name, std::string_view value) override;
  void on_headers_end(bool end_stream) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_sent(std::size_t bytes) override;
  void on_close(std::uint32_t error_code) override;
  void on_end_sent() override;

  void inform(const ResponseHead& head) override;
  void respond(ResponseHead& head, bool end) override;
  void switched(std::unique_ptr<Stream> upstream) override;
  void data(std::span<const std::byte> bytes, bool end) override;
  void trailers(Fields&& trailers) override;
  void abort(Abort reason) override;
  void consumed(std::size_t bytes) override;

  void start(bool end_stream);
  void connect(bool end_stream);
  void refuse(std::uint16_t status, std::string_view why, bool grpc = false);
  void over();

  H2Server& server_;
  Peer* request_ = nullptr;
  // The head while it arrives, then trailers: dropped when handed on.
  std::unique_ptr<RequestHead> head_ = std::make_unique<RequestHead>();
  std::unique_ptr<Fields> trailers_;
  bool started_ = false;
  bool too_large_ = false;
  bool request_ended_ = false;
  bool responded_ = false;
  bool over_ = false;
};

class H2Server final : public H2Session {
 public:
  H2Server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler, ServerOwner& owner,
           const H2Settings& settings, TunnelHandler* tunnels, ByteBudget budget)
      : H2Session(engine, std::move(stream), true, settings, std::move(budget)),
        handler_(handler),
        owner_(owner),
        tunnels_(tunnels) {}

  void drain() { begin_shutdown(); }
  void abort() { close(); }

 private:
  friend class ServerStream;
  std::unique_ptr<H2Stream> on_new_stream() override { return std::make_unique<ServerStream>(*this); }
  void on_session_end() override { owner_.server_closed(); }

  Handler& handler_;
  ServerOwner& owner_;
  TunnelHandler* tunnels_;
};

void ServerStream::on_header(std::string_view name, std::string_view value) {
  if (started_) {
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
  RequestHead& head = *head_;
  if (head.fields.size() >= max_fields ||
      head.fields.text_size() + name.size() + value.size() > max_head_bytes) {
    too_large_ = true;
    return;
  }
  if (name.starts_with(':')) {
    if (name == ":method") head.set_method(value);
    if (name == ":path") head.set_target(value);
    if (name == ":scheme") head.set_scheme(value);
    if (name == ":authority") head.set_authority(value);
    return;
  }
  head.fields.add(name, value);
}

void ServerStream::on_headers_end(bool end_stream) {
  if (started_) {
    // nghttp2 lets only trailers with END_STREAM through.
    request_ended_ = true;
    if (request_ == nullptr) return;
    if (too_large_) return reset(NGHTTP2_ENHANCE_YOUR_CALM);
    if (trailers_) {
      settle_trailers(*trailers_);
      request_->trailers(std::move(*trailers_));
    } else {
      request_->data({}, true);
    }
    return;
  }
  started_ = true;
  request_ended_ = end_stream;
  if (too_large_) return refuse(431, "head larger than 64 KiB", head_->is_grpc());
  if (head_->is_connect()) return connect(end_stream);
  start(end_stream);
}

void ServerStream::connect(bool end_stream) {
  if (server_.tunnels_ == nullptr) return refuse(501, "CONNECT is not served here");
  const auto head = std::move(head_);
  const std::string client(head->fields.find("heddle-client").value_or(""));
  if (const std::string why = server_.tunnels_->check_tunnel(head->authority(), client); !why.empty())
    return refuse(403, why);
  H2Server& server = server_;
  auto tunnel = std::make_unique<TunnelEnd>(server.engine_, TunnelEnd::Side::server);
  TunnelEnd& end = *tunnel;
  server.replace(*this, std::move(tunnel));
  server.submit_plain_response(end, 200, {}, false);
  auto stream = end.take_stream();
  if (end_stream) end.end_received();
  server.tunnels_->open_tunnel(client, std::move(stream));
}

void ServerStream::start(bool end_stream) {
  const auto head = std::move(head_);
  head->version = Version::http2;
  if (const auto settled = settle(*head); !settled)
    return refuse(400, settled.error().detail, head->is_grpc());
  // One name for the target, or two servers might route by different ones.
  if (!head->authority().empty() && head->authority_.size != 0) head->fields.remove(Name::host);
  strip_hop_by_hop(head->fields);
  join_cookies(head->fields);
  if (end_stream) head->content = Content::none;
  if (!end_stream && head->content == Content::none) head->content = Content::streamed;
  if (!end_stream && head->method() == "TRACE") return refuse(400, "TRACE with content", head->is_grpc());
  Peer* request = server_.handler_.start(*head, end_stream, *this);
  request_ = over_ ? nullptr : request;
}

void ServerStream::refuse(std::uint16_t status, std::string_view why, bool grpc) {
  over_ = responded_ = true;
  if (status == 400) server_.budget().count(Refusal::malformed);
  if (status == 431) server_.budget().count(Refusal::too_large);
  if (!grpc) return server_.submit_plain_response(*this, status, why, true);
  server_.submit_response(*this, make_error_response(status, why, true), true);
}

void ServerStream::on_data(std::span<const std::byte> bytes) {
  if (request_ == nullptr) return return_credit(bytes.size());
  request_->data(bytes, false);
}

void ServerStream::on_end() {
  request_ended_ = true;
  if (request_ != nullptr) request_->data({}, true);
}

void ServerStream::on_sent(std::size_t bytes) {
  if (request_ != nullptr) request_->consumed(bytes);
}

void ServerStream::on_close(std::uint32_t) {
  over_ = true;
  if (Peer* request = std::exchange(request_, nullptr)) request->abort(Abort::cancelled);
}

void ServerStream::on_end_sent() {
  // RFC 9113 8.1: the rest of the request is not needed.
  if (!request_ended_) reset(NGHTTP2_NO_ERROR);
}

void ServerStream::inform(const ResponseHead& head) {
  if (session_ != nullptr) server_.submit_informational(*this, head);
}

void ServerStream::respond(ResponseHead& head, bool end) {
  responded_ = true;
  if (end) over();
  if (session_ != nullptr) server_.submit_response(*this, head, end);
}

void ServerStream::over() {
  over_ = true;
  request_ = nullptr;
}

void ServerStream::switched(std::unique_ptr<Stream>) {
  over();
  reset(NGHTTP2_INTERNAL_ERROR);
}

void ServerStream::data(std::span<const std::byte> bytes, bool end) {
  if (end) over();
  send(bytes, end);
}

void ServerStream::trailers(Fields&& trailers) {
  over();
  send_trailers(std::move(trailers));
}

void ServerStream::abort(Abort reason) {
  over();
  reset(reset_code(reason));
}

void ServerStream::consumed(std::size_t bytes) {
  return_credit(bytes);
}

// The session under the interface that every server-side codec has.
class H2ServerCodec final : public ServerCodec {
 public:
  explicit H2ServerCodec(std::unique_ptr<H2Server> server) : server_(std::move(server)) {}
  void drain() override { server_->drain(); }
  void abort() override { server_->abort(); }

 private:
  std::unique_ptr<H2Server> server_;
};

}  // namespace

std::unique_ptr<ServerCodec> make_h2_server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler,
                                            ServerOwner& owner, const H2Settings& settings,
                                            TunnelHandler* tunnels, ByteBudget budget) {
  return std::make_unique<H2ServerCodec>(std::make_unique<H2Server>(engine, std::move(stream), handler, owner,
                                                                    settings, tunnels, std::move(budget)));
}

}  // namespace heddle::proxy::http
