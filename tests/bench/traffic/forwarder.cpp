// SPDX-License-Identifier: Apache-2.0
// The least that a pair of proxies with mutual TLS can do, the floor of tools/bench --traffic: bytes from one
// socket to the other, one TLS connection per connection, resumed. No parsing, no policy, no discovery, no
// metrics.
//
//   heddle-forwarder client|server CERTIFICATE KEY CA LISTEN=TO...
//
// `client` takes plain connections and makes TLS ones, `server` the other way round.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "tests/bench/traffic/acceptor.h"

namespace heddle::bench {
namespace {

constexpr std::size_t buffer_size = 65536;
constexpr std::size_t record = 16384;
constexpr int turns = 16;  // reads in a row, so that one busy connection does not keep the others waiting

constexpr int would_block = -1;
constexpr int broken = -2;

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

SSL_SESSION* kept_session = nullptr;  // of the client's last connection

[[noreturn]] void fail_tls(const char* what) {
  std::fprintf(stderr, "heddle-forwarder: %s\n", what);
  ERR_print_errors_fp(stderr);
  std::exit(1);
}

int keep_session(SSL* /*ssl*/, SSL_SESSION* session) {
  SSL_SESSION_free(kept_session);
  kept_session = session;
  return 1;
}

SSL_CTX* make_context(bool client, const char* certificate, const char* key, const char* ca) {
  SSL_CTX* context = SSL_CTX_new(client ? TLS_client_method() : TLS_server_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) fail_tls(certificate);
  if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) fail_tls(key);
  if (SSL_CTX_load_verify_locations(context, ca, nullptr) != 1) fail_tls(ca);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, 2 * record);
  if (client) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
  } else {
    constexpr std::string_view name = "forwarder";
    SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>(name.data()), name.size());
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_options(context, SSL_OP_NO_ANTI_REPLAY);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  }
  return context;
}

class Pair;

// One of a pair's two sockets.
class Side final : public Handler {
 public:
  explicit Side(Pair& pair) : pair_(pair) {}
  void ready(std::uint32_t events) override;

  // Bytes read; 0: the end; would_block; broken.
  int read(char* to, std::size_t size);
  // What read() would give without a system call.
  bool has_pending() const { return ssl && SSL_has_pending(ssl.get()) == 1; }
  // Writes or keeps what was not taken. False: broken.
  bool write(const char* bytes, std::size_t size);
  bool flush();
  void end();
  // False: broken.
  bool shake_hands();
  void wait_for(Poller& poller, std::uint32_t events);

  Fd fd;
  std::unique_ptr<SSL, FreeSsl> ssl;
  bool connecting = false;
  bool shaking_hands = false;
  bool ended = false;  // its peer has
  std::string owed;

 private:
  int result(int returned) const;
  Pair& pair_;
  std::uint32_t waits_for_ = 0;
  std::uint32_t wanted_by_tls_ = EPOLLIN;
  bool registered_ = false;
  bool end_sent_ = false;

  friend class Pair;
};

class Pair {
 public:
  Pair(Poller& poller, SSL_CTX* context, bool client) : poller_(poller), context_(context), client_(client) {}
  void start(Fd accepted, const SocketAddress& to);
  void progress(Side& side);
  void destroy();

 private:
  bool open_side(Side& side);
  bool move(Side& from, Side& to);
  void wait();

  Poller& poller_;
  SSL_CTX* context_;
  bool client_;
  std::unique_ptr<Side> accepted_ = std::make_unique<Side>(*this);
  std::unique_ptr<Side> dialled_ = std::make_unique<Side>(*this);
};

void Side::ready(std::uint32_t events) {
  if (!fd) return;  // the pair is gone
  if ((events & EPOLLERR) != 0 && !connecting) return pair_.destroy();
  pair_.progress(*this);
}

int Side::result(int returned) const {
  const int error = SSL_get_error(ssl.get(), returned);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return would_block;
  return error == SSL_ERROR_ZERO_RETURN ? 0 : broken;
}

int Side::read(char* to, std::size_t size) {
  if (ssl) {
    const int got = SSL_read(ssl.get(), to, static_cast<int>(size));
    return got > 0 ? got : result(got);
  }
  const ssize_t got = ::recv(fd.get(), to, size, 0);
  if (got >= 0) return static_cast<int>(got);
  return errno == EAGAIN ? would_block : broken;
}

bool Side::write(const char* bytes, std::size_t size) {
  while (size > 0) {
    ssize_t sent = 0;
    if (ssl) {
      const int written = SSL_write(ssl.get(), bytes, static_cast<int>(size));
      sent = written > 0 ? written : result(written);
    } else {
      sent = ::send(fd.get(), bytes, size, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
    }
    if (sent == broken || sent == 0) return false;
    if (sent < 0) break;
    bytes += sent;
    size -= static_cast<std::size_t>(sent);
  }
  owed.assign(bytes, size);
  return true;
}

bool Side::flush() {
  const std::string bytes = std::move(owed);
  owed.clear();
  return write(bytes.data(), bytes.size());
}

void Side::end() {
  if (end_sent_) return;
  end_sent_ = true;
  if (ssl) {
    SSL_shutdown(ssl.get());
    ERR_clear_error();
  }
  ::shutdown(fd.get(), SHUT_WR);
}

bool Side::shake_hands() {
  const int done = SSL_do_handshake(ssl.get());
  if (done == 1) {
    shaking_hands = false;
    return true;
  }
  const int error = SSL_get_error(ssl.get(), done);
  ERR_clear_error();
  wanted_by_tls_ = error == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN;
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

void Side::wait_for(Poller& poller, std::uint32_t events) {
  if (registered_ && events == waits_for_) return;
  if (registered_)
    poller.change(fd.get(), events, *this);
  else
    poller.add(fd.get(), events, *this);
  registered_ = true;
  waits_for_ = events;
}

void Pair::start(Fd accepted, const SocketAddress& to) {
  accepted_->fd = std::move(accepted);
  dialled_->fd = dial(to);
  if (!dialled_->fd) return destroy();
  dialled_->connecting = true;
  Side& secured = client_ ? *dialled_ : *accepted_;
  secured.ssl.reset(SSL_new(context_));
  SSL_set_fd(secured.ssl.get(), secured.fd.get());
  if (client_) {
    SSL_set_connect_state(secured.ssl.get());
    if (kept_session != nullptr) SSL_set_session(secured.ssl.get(), kept_session);
  } else {
    SSL_set_accept_state(secured.ssl.get());
  }
  secured.shaking_hands = true;
  wait();
}

// True when bytes may pass.
bool Pair::open_side(Side& side) {
  if (side.connecting) return false;
  return !side.shaking_hands;
}

void Pair::progress(Side& side) {
  if (side.connecting) {
    if (connect_error(side.fd.get()) != 0) return destroy();
    side.connecting = false;
  }
  if (side.shaking_hands && !side.shake_hands()) return destroy();
  if (open_side(*accepted_) && open_side(*dialled_)) {
    if (!move(*accepted_, *dialled_) || !move(*dialled_, *accepted_)) return destroy();
    if (accepted_->ended && dialled_->ended && accepted_->owed.empty() && dialled_->owed.empty())
      return destroy();
  }
  wait();
}

// Several records are gathered into one write. False: the pair is over.
bool Pair::move(Side& from, Side& to) {
  static std::array<char, buffer_size> buffer;
  if (!to.owed.empty() && !to.flush()) return false;
  if (!to.owed.empty()) return true;
  for (int i = 0; i < turns && !from.ended; ++i) {
    std::size_t size = 0;
    int got = from.read(buffer.data(), buffer.size());
    while (got > 0) {
      size += static_cast<std::size_t>(got);
      if (!from.has_pending() || size + record > buffer.size()) break;
      got = from.read(buffer.data() + size, buffer.size() - size);
    }
    if (got == broken) return false;
    if (size > 0 && !to.write(buffer.data(), size)) return false;
    if (got == 0) from.ended = true;
    if (from.ended && to.owed.empty()) to.end();
    if (got == would_block || !to.owed.empty() || (size < record && !from.has_pending())) return true;
  }
  if (from.ended && to.owed.empty()) to.end();
  return true;
}

void Pair::wait() {
  const bool open = open_side(*accepted_) && open_side(*dialled_);
  for (auto* side : {accepted_.get(), dialled_.get()}) {
    Side& other = side == accepted_.get() ? *dialled_ : *accepted_;
    std::uint32_t events = 0;
    if (side->connecting)
      events = EPOLLOUT;
    else if (side->shaking_hands)
      events = side->wanted_by_tls_;
    else
      events =
          (open && !side->ended && other.owed.empty() ? EPOLLIN : 0U) | (side->owed.empty() ? 0U : EPOLLOUT);
    side->wait_for(poller_, events);
  }
}

void Pair::destroy() {
  accepted_->ssl.reset();
  dialled_->ssl.reset();
  accepted_->fd.reset();
  dialled_->fd.reset();
  // An event of this round may still name one of them.
  poller_.retire(std::move(accepted_));
  poller_.retire(std::move(dialled_));
  delete this;
}

SocketAddress parse(std::string_view text) {
  const auto address = SocketAddress::parse(text);
  if (!address) {
    std::fprintf(stderr, "heddle-forwarder: %s\n", address.error().message().c_str());
    std::exit(2);
  }
  return *address;
}

int run(int argc, char** argv) {
  const std::string_view side = argc > 5 ? argv[1] : "";
  if (side != "client" && side != "server") {
    std::fprintf(stderr, "usage: heddle-forwarder client|server CERTIFICATE KEY CA LISTEN=TO...\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(raise_fd_limit());
  const bool client = side == "client";
  SSL_CTX* context = make_context(client, argv[2], argv[3], argv[4]);
  Poller poller;
  std::vector<std::unique_ptr<Acceptor>> acceptors;
  for (int i = 5; i < argc; ++i) {
    const std::string_view map = argv[i];
    const auto middle = map.find('=');
    const auto to = parse(map.substr(middle == map.npos ? 0 : middle + 1));
    acceptors.push_back(std::make_unique<Acceptor>(
        poller, parse(map.substr(0, middle)), [&poller, context, client, to](Fd fd) {
          (new Pair(poller, context, client))->start(std::move(fd), to);  // owns itself: see destroy()
        }));
  }
  poller.run();
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  return heddle::bench::run(argc, argv);
}
