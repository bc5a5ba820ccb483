// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/tls_stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "proxy/tls/names.h"

namespace heddle::proxy::tls {
namespace {

constexpr std::size_t max_plaintext = 16 * 1024;  // of one record (RFC 8446 5.1)
// Taken by one write(): all that a turn of a bulky HTTP/2 stream gathers (two reads), or the cut would leave
// a record and a packet that are nearly empty.
constexpr std::size_t max_write = 160 * 1024;
constexpr std::size_t max_unsent = 512 * 1024;  // answers to KeyUpdates of a peer that reads nothing
constexpr std::size_t max_kept_scratch = 256 * 1024;
// OpenSSL goes on for as long as records come that carry nothing, and each KeyUpdate makes keys: a peer that
// sends them fast enough would have the worker for itself. A call takes so many bytes, and one that finds no
// content twice as many;
constexpr std::uint32_t most_taken = 256 * 1024;
// messages after the handshake come rarely (RFC 8446 5.5: once in 2^24 records).
constexpr std::uint32_t most_messages = 32;

// Where records of the running call gather. A connection keeps only what its inner stream did not take.
thread_local std::vector<std::byte> scratch;

}  // namespace

// The BIO's callbacks (BIO_meth_new(3)): OpenSSL's side of the inner stream.
struct StreamBio {
  static TlsStream& stream(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, std::size_t size, std::size_t* got) {
    BIO_clear_retry_flags(bio);
    *got = 0;
    auto& s = stream(bio);
    if (s.messages_ > most_messages || s.taken_ > 2 * most_taken) {
      s.failure_ = "the peer sends records without content for ever";
      s.inner_error_ = EPROTO;
      return 0;
    }
    if (s.inner_drained_) {
      BIO_set_retry_read(bio);
      return 0;
    }
    const auto result = s.inner_->read(std::span(reinterpret_cast<std::byte*>(into), size));
    switch (result.status) {
      case IoStatus::ok:
        *got = result.size;
        s.inner_drained_ = result.drained;
        s.taken_ += static_cast<std::uint32_t>(result.size);
        return 1;
      case IoStatus::would_block:
        s.inner_drained_ = true;
        BIO_set_retry_read(bio);
        return 0;
      case IoStatus::eof:
        s.inner_ended_ = true;
        return 0;
      case IoStatus::error:
        s.inner_error_ = result.error;
        return 0;
    }
    return 0;
  }

  static int write(BIO* bio, const char* data, std::size_t size, std::size_t* wrote) {
    auto& s = stream(bio);
    // Behind what is still unsent, else with the rest of this call.
    auto& to = s.unsent_.empty() ? scratch : s.unsent_;
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    to.insert(to.end(), bytes, bytes + size);
    *wrote = size;
    return 1;
  }

  // SSL_set_msg_callback(3), after the handshake.
  static void on_message(int written, int, int type, const void*, std::size_t, SSL*, void* stream) {
    if (written == 0 && type == SSL3_RT_HANDSHAKE) ++static_cast<TlsStream*>(stream)->messages_;
  }

  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return stream(bio).inner_ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static const BIO_METHOD* method() {
    static BIO_METHOD* made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
      BIO_meth_set_read_ex(m, &read);
      BIO_meth_set_write_ex(m, &write);
      BIO_meth_set_ctrl(m, &control);
      return m;
    }();
    return made;
  }

  // Runs at each certificate of the chain that OpenSSL has verified; at the leaf our own rules follow.
  static int verify(int ok, X509_STORE_CTX* store) {
    if (ok != 1 || X509_STORE_CTX_get_error_depth(store) != 0) return ok;
    const auto* ssl =
        static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    const auto& s = stream(SSL_get_rbio(ssl));
    const X509* leaf = X509_STORE_CTX_get0_cert(store);
    const bool proven = s.parameters_ && s.parameters_->role == Role::client
                            ? has_name(leaf, s.parameters_->expected_identity)
                            : !first_name(leaf).empty();
    if (proven) return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
  }
};

namespace {

bool contains(const unsigned char* list, unsigned size, std::string_view wanted) {
  for (unsigned at = 0; at < size; at += 1u + list[at]) {
    const std::string_view entry(reinterpret_cast<const char*>(list + at + 1), list[at]);
    if (entry == wanted) return true;
  }
  return false;
}

}  // namespace

int select_alpn(ssl_st* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*) {
  const auto& s = StreamBio::stream(SSL_get_rbio(ssl));
  if (!s.parameters_) return SSL_TLSEXT_ERR_NOACK;
  for (const std::string& taken : s.parameters_->alpn) {
    if (!contains(in, in_size, taken)) continue;
    *out = reinterpret_cast<const unsigned char*>(taken.data());
    *out_size = static_cast<unsigned char>(taken.size());
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

TlsStream::TlsStream(Loop& loop, std::shared_ptr<Lingering> lingering, ContextRef context,
                     std::unique_ptr<Stream> inner, Parameters parameters)
    : loop_(loop),
      lingering_(std::move(lingering)),
      context_(std::move(context)),
      inner_(std::move(inner)),
      parameters_(std::make_unique<Parameters>(std::move(parameters))) {}

Result<std::unique_ptr<TlsStream>> TlsStream::make(Loop& loop, std::shared_ptr<Lingering> lingering,
                                                   ContextRef context, std::unique_ptr<Stream> inner,
                                                   Parameters parameters) {
  std::unique_ptr<TlsStream> made(
      new TlsStream(loop, std::move(lingering), std::move(context), std::move(inner), std::move(parameters)));
  if (auto ready = made->set_up(); !ready) return ready.error();
  return made;
}

Result<> TlsStream::set_up() {
  ERR_clear_error();
  ssl_ = SSL_new(context_->ssl.get());
  BIO* bio = ssl_ ? BIO_new(StreamBio::method()) : nullptr;
  if (!bio) return make_error(Errc::exhausted, "TLS connection: " + openssl_error());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_verify(ssl_, SSL_VERIFY_PEER, &StreamBio::verify);
  if (parameters_->role == Role::server) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
    if (!parameters_->server_name.empty() &&
        SSL_set_tlsext_host_name(ssl_, parameters_->server_name.c_str()) != 1) {
      return make_error(Errc::invalid_argument,
                        "server name " + parameters_->server_name + ": " + openssl_error());
    }
    std::string list;
    for (const auto& name : parameters_->alpn) {
      list.push_back(static_cast<char>(name.size()));
      list.append(name);
    }
    if (!list.empty() && SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(list.data()),
                                             static_cast<unsigned>(list.size())) != 0) {
      return make_error(Errc::invalid_argument, "ALPN list: " + openssl_error());
    }
  }
  inner_->set_events(this);
  return {};
}

TlsStream::~TlsStream() {
  if (announcement_) *announcement_ = nullptr;
  SSL_free(ssl_);
  if (!inner_) return;
  inner_->set_events(nullptr);
  const bool over = write_ended_ && read_ended_ && error_ == 0;
  const bool unsent = unsent_from_ < unsent_.size();
  if (over && (unsent || !inner_ended_)) {
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(unsent_from_));
    lingering_->take(std::move(inner_), std::move(unsent_));
  }
}

IoStatus TlsStream::handshake() {
  if (error_ != 0) return IoStatus::error;
  ERR_clear_error();
  taken_ = 0;
  const OSSL_HANDSHAKE_STATE before = SSL_get_state(ssl_);  // a failure is a state of its own
  const int done = SSL_do_handshake(ssl_);
  const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, done);
  if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ) {
    verify_result_ = SSL_get_verify_result(ssl_);
    const bool alerted = ERR_GET_REASON(ERR_peek_error()) > SSL_AD_REASON_OFFSET;
    unanswered_ = parameters_->role == Role::client && before == TLS_ST_CW_CLNT_HELLO && !alerted;
    fail(classify(why));
    flush();  // the alert that tells the peer
    return IoStatus::error;
  }
  flush();
  if (error_ != 0) return IoStatus::error;
  if (why == SSL_ERROR_WANT_READ) return IoStatus::would_block;
  parameters_.reset();
  SSL_set_msg_callback(ssl_, &StreamBio::on_message);
  SSL_set_msg_callback_arg(ssl_, this);
  return IoStatus::ok;
}

Error TlsStream::failure() const {
  if (verify_result_ == X509_V_ERR_HOSTNAME_MISMATCH) {
    return make_error(Errc::permission_denied,
                      parameters_ && parameters_->role == Role::client
                          ? "the peer's certificate is not for " + parameters_->expected_identity
                          : "the client's certificate has no DNS or URI name");
  }
  if (verify_result_ != X509_V_OK) {
    return make_error(Errc::permission_denied, std::string("the peer's certificate does not verify: ") +
                                                   X509_verify_cert_error_string(verify_result_));
  }
  if (unanswered_) {
    return make_error(Errc::unavailable, "TLS handshake: the peer is not in the mesh" +
                                             (failure_.empty() ? std::string() : ": " + failure_));
  }
  if (!failure_.empty()) return make_error(Errc::protocol, "TLS handshake: " + failure_);
  return make_errno(error_, "TLS handshake: the connection ended");
}

void TlsStream::abandon() {
  if (!inner_ || inner_ended_ || inner_error_ != 0) return;
  inner_->set_events(nullptr);
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(unsent_from_));
  lingering_->take(std::move(inner_), std::move(unsent_));
}

Session TlsStream::session() const {
  Session session;
  if (const X509* peer = SSL_get0_peer_certificate(ssl_)) session.peer_identity = first_name(peer);
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &size);
  if (size > 0) session.alpn.assign(reinterpret_cast<const char*>(alpn), size);
  if (const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) session.server_name = name;
  return session;
}

void TlsStream::announce_early_bytes() {
  if (inner_drained_ && SSL_has_pending(ssl_) == 0) return;
  announcement_ = std::make_shared<TlsStream*>(this);
  loop_.defer([to = announcement_] {
    TlsStream* self = *to;
    if (!self) return;
    self->announcement_.reset();
    if (self->events_) self->events_->on_readable();
  });
}

// The errno of a failed operation, and the reason in words when there is one.
int TlsStream::classify(int ssl_error) {
  if (ssl_error == SSL_ERROR_SSL) {
    const unsigned long code = ERR_peek_error();
    const bool truncated = ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    const std::string why = openssl_error();
    if (truncated) return inner_error_ != 0 ? inner_error_ : ECONNRESET;
    failure_ = why;
    return EPROTO;
  }
  ERR_clear_error();
  return inner_error_ != 0 ? inner_error_ : ECONNRESET;
}

void TlsStream::fail(int error) {
  if (error_ == 0) error_ = error;
}

IoResult TlsStream::read(std::span<std::byte> into) {
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (read_ended_) return {IoStatus::eof};
  if (inner_drained_ && SSL_has_pending(ssl_) == 0) return {IoStatus::would_block};
  ERR_clear_error();
  std::size_t size = 0;
  int why = SSL_ERROR_NONE;
  taken_ = 0;
  while (size < into.size() && taken_ <= most_taken) {
    std::size_t got = 0;
    const int ok = SSL_read_ex(ssl_, into.data() + size, into.size() - size, &got);
    if (ok != 1) {
      why = SSL_get_error(ssl_, ok);
      break;
    }
    size += got;
    if (inner_drained_ && SSL_has_pending(ssl_) == 0) break;
  }
  if (size > 0 && messages_ > 0) --messages_;
  int error = 0;
  if (why == SSL_ERROR_ZERO_RETURN) {
    read_ended_ = true;
  } else if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ) {
    error = classify(why);
  }
  if (error != 0) fail(error);
  flush();  // answers to KeyUpdate, alerts
  // Bytes first; an end or an error is told by the next call.
  if (size > 0) return {IoStatus::ok, size};
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (read_ended_) return {IoStatus::eof};
  return {into.empty() ? IoStatus::ok : IoStatus::would_block};
}

IoResult TlsStream::write(std::span<const iovec> data) {
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (write_ended_) return {IoStatus::error, 0, EPIPE};
  if (!unsent_.empty()) flush();
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (!unsent_.empty()) {
    want_write_ = true;
    return {IoStatus::would_block};
  }
  const std::size_t taken = encrypt(data);
  flush();
  if (error_ != 0) return {IoStatus::error, 0, error_};
  return {IoStatus::ok, taken};
}

// Small pieces (a frame's header and its payload) share a record: copying them is cheaper than another
// record.
std::size_t TlsStream::encrypt(std::span<const iovec> data) {
  std::array<std::byte, max_plaintext> record;
  std::size_t filled = 0;
  std::size_t taken = 0;
  for (const iovec& part : data) {
    const auto* at = static_cast<const std::byte*>(part.iov_base);
    std::size_t left = std::min(part.iov_len, max_write - taken);
    taken += left;
    while (left > 0) {
      if (filled == 0 && left >= max_plaintext) {
        if (!encrypt_record(at, max_plaintext)) return taken;
        at += max_plaintext;
        left -= max_plaintext;
        continue;
      }
      const std::size_t n = std::min(left, max_plaintext - filled);
      std::memcpy(record.data() + filled, at, n);
      filled += n;
      at += n;
      left -= n;
      if (filled < max_plaintext) continue;
      if (!encrypt_record(record.data(), filled)) return taken;
      filled = 0;
    }
    if (taken == max_write) break;
  }
  if (filled > 0) encrypt_record(record.data(), filled);
  return taken;
}

bool TlsStream::encrypt_record(const void* data, std::size_t size) {
  ERR_clear_error();
  std::size_t wrote = 0;
  // The BIO takes everything, so a record is never half written.
  if (SSL_write_ex(ssl_, data, size, &wrote) == 1 && wrote == size) return true;
  fail(classify(SSL_ERROR_SSL));
  return false;
}

// Sends what waits: the remainder of earlier calls, or this call's records. Sets error_ when the inner stream
// failed.
void TlsStream::flush() {
  const bool fresh = unsent_.empty();
  std::vector<std::byte> batch;
  std::vector<std::byte>* from = &unsent_;
  if (fresh) {
    if (scratch.empty()) return;
    batch.swap(scratch);  // the inner stream may itself be TLS and use it
    from = &batch;
    unsent_from_ = 0;
  }
  std::size_t at = unsent_from_;
  while (at < from->size()) {
    const iovec rest{from->data() + at, from->size() - at};
    const auto wrote = inner_->write(std::span(&rest, 1));
    if (wrote.status == IoStatus::would_block) break;
    if (wrote.status != IoStatus::ok) {
      fail(wrote.error != 0 ? wrote.error : EPIPE);
      at = from->size();
      break;
    }
    at += wrote.size;
  }
  const std::size_t left = from->size() - at;
  if (fresh) {
    if (left > 0) unsent_.assign(from->begin() + static_cast<std::ptrdiff_t>(at), from->end());
    batch.clear();
    if (batch.capacity() <= max_kept_scratch && scratch.empty()) scratch.swap(batch);
  } else if (left == 0) {
    std::vector<std::byte>().swap(unsent_);
    unsent_from_ = 0;
  } else {
    unsent_from_ = at;
    if (left > max_unsent) fail(EPROTO);
  }
  if (unsent_.empty() && write_ended_ && !finished_ && error_ == 0) {
    finished_ = true;
    inner_->finish_writes();
  }
}

void TlsStream::finish_writes() {
  if (write_ended_ || error_ != 0) return;
  write_ended_ = true;
  ERR_clear_error();
  SSL_shutdown(ssl_);  // queues close_notify; the other direction goes on
  ERR_clear_error();
  flush();
}

void TlsStream::reset() {
  fail(ECONNRESET);
  if (inner_) inner_->reset();
}

std::size_t TlsStream::buffered() const {
  const auto pending = SSL_pending(ssl_);
  return unsent_.capacity() + (pending > 0 ? static_cast<std::size_t>(pending) : 0) +
         (inner_ ? inner_->buffered() : 0);
}

void TlsStream::on_readable() {
  inner_drained_ = false;
  if (events_) events_->on_readable();
}

void TlsStream::on_writable() {
  flush();
  if (!want_write_ || (!unsent_.empty() && error_ == 0)) return;
  want_write_ = false;
  if (events_) events_->on_writable();
}

}  // namespace heddle::proxy::tls
