// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/tls/context.h"
#include "proxy/tls/linger.h"
#include "proxy/tls/tls.h"

struct ssl_st;
struct bio_st;

namespace heddle::proxy::tls {

enum class Role : std::uint8_t { client, server };

struct Parameters {
  Role role = Role::client;
  std::string expected_identity;  // client: what the server must prove
  std::string server_name;        // client: SNI, empty for none
  std::vector<std::string>
      alpn;  // client: offered, in order; server: the first of these that is offered is taken
};

// SSL_CTX_set_alpn_select_cb(3), for make_context(): what the connection's Parameters say (RFC 7301 3.2). A
// client that offers nothing of that gets plain TLS without a protocol, as Linkerd's proxies expect.
int select_alpn(ssl_st* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*);

// TLS 1.3 over another Stream. OpenSSL reads from and writes to the inner stream through a BIO of ours;
// records of one write() leave in one write of the inner stream, and an idle connection keeps no buffer.
//
// finish_writes() is close_notify and FIN, a received close_notify is eof, and a FIN without one is
// ECONNRESET: the peer may not have said all (RFC 8446 6.1).
class TlsStream final : public Stream, private StreamEvents {
 public:
  static Result<std::unique_ptr<TlsStream>> make(Loop& loop, std::shared_ptr<Lingering> lingering,
                                                 ContextRef context, std::unique_ptr<Stream> inner,
                                                 Parameters parameters);
  ~TlsStream() override;

  // Before anything else, called at first and on each event, until it says something other than would_block:
  // ok, or error (`failure()` tells more).
  IoStatus handshake();
  Error failure() const;
  // After a failed handshake: lets the alert reach the peer, then closes. Only destruction may follow.
  void abandon();
  Session session() const;
  // After the handshake, once the final owner's set_events() is (about to be) called: tells it from the loop
  // if bytes came along with the handshake.
  void announce_early_bytes();

  IoResult read(std::span<std::byte> into) override;
  IoResult write(std::span<const iovec> data) override;
  void finish_writes() override;
  void reset() override;
  void let_go() override {
    if (inner_) inner_->let_go();
  }
  std::size_t buffered() const override;
  int descriptor() const override { return inner_ ? inner_->descriptor() : -1; }

 private:
  friend struct StreamBio;
  friend int select_alpn(ssl_st*, const unsigned char**, unsigned char*, const unsigned char*, unsigned,
                         void*);
  TlsStream(Loop& loop, std::shared_ptr<Lingering> lingering, ContextRef context,
            std::unique_ptr<Stream> inner, Parameters parameters);
  Result<> set_up();
  void on_readable() override;
  void on_writable() override;
  std::size_t encrypt(std::span<const iovec> data);
  bool encrypt_record(const void* data, std::size_t size);
  void flush();
  void fail(int error);
  int classify(int ssl_error);

  Loop& loop_;
  std::shared_ptr<Lingering> lingering_;
  ContextRef context_;
  std::unique_ptr<Stream> inner_;
  std::unique_ptr<Parameters> parameters_;  // gone after the handshake
  ssl_st* ssl_ = nullptr;
  std::vector<std::byte> unsent_;  // records that the inner stream did not take
  std::size_t unsent_from_ = 0;
  std::shared_ptr<TlsStream*> announcement_;
  std::string failure_;
  long verify_result_ = 0;
  int error_ = 0;  // errno of a broken connection, for reads and writes alike
  int inner_error_ = 0;
  std::uint32_t taken_ = 0;  // from the inner stream by the running call
  std::uint32_t messages_ =
      0;  // of the peer since the handshake (KeyUpdate, tickets), less one per read with content
  bool unanswered_ = false;     // a client's handshake that ended before anything of TLS came back
  bool inner_drained_ = false;  // the inner stream has nothing: no need to ask before it rings
  bool inner_ended_ = false;    // FIN seen
  bool read_ended_ = false;     // close_notify seen
  bool write_ended_ = false;    // close_notify written
  bool finished_ = false;       // and FIN after it
  bool want_write_ = false;     // the caller waits for on_writable
};

}  // namespace heddle::proxy::tls
