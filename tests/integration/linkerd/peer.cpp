// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/linkerd/peer.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>

namespace heddle::test {
namespace {

constexpr std::chrono::milliseconds usual_limit{10'000};

void must(bool ok) {
  if (!ok) std::abort();
}

using Text = std::unique_ptr<BIO, decltype(&BIO_free)>;
Text text_of(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

std::string wire_format(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += static_cast<char>(name.size()) + name;
  return out;
}

}  // namespace

struct Peer::Impl {
  Fd socket;
  SSL_CTX* context = nullptr;
  SSL* ssl = nullptr;
  std::string failure;
  std::vector<std::string> accepted_alpn, offered_alpn;
  std::chrono::milliseconds limit = usual_limit;

  ~Impl() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }

  static int choose_alpn(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                         unsigned in_size, void* self) {
    auto& impl = *static_cast<Impl*>(self);
    for (unsigned at = 0; at < in_size; at += 1u + in[at])
      impl.offered_alpn.emplace_back(reinterpret_cast<const char*>(in + at + 1), in[at]);
    for (const auto& wanted : impl.accepted_alpn) {
      for (const auto& offered : impl.offered_alpn) {
        if (offered != wanted) continue;
        *out = reinterpret_cast<const unsigned char*>(wanted.data());
        *size = static_cast<unsigned char>(wanted.size());
        return SSL_TLSEXT_ERR_OK;
      }
    }
    return SSL_TLSEXT_ERR_NOACK;
  }

  void prepare(const PeerTls& with, bool server) {
    context = SSL_CTX_new(TLS_method());
    const auto roots = text_of(with.roots);
    while (X509* root = PEM_read_bio_X509(roots.get(), nullptr, nullptr, nullptr)) {
      must(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root) == 1);
      X509_free(root);
    }
    ERR_clear_error();
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (with.own) {
      X509* leaf = PEM_read_bio_X509(text_of(with.own->certificate_pem).get(), nullptr, nullptr, nullptr);
      EVP_PKEY* key = PEM_read_bio_PrivateKey(text_of(with.own->key_pem).get(), nullptr, nullptr, nullptr);
      must(SSL_CTX_use_certificate(context, leaf) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1);
      X509_free(leaf);
      EVP_PKEY_free(key);
    }
    const int version = with.only_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    must(SSL_CTX_set_min_proto_version(context, version) == 1);
    must(SSL_CTX_set_max_proto_version(context, version) == 1);
    if (!with.groups.empty()) must(SSL_CTX_set1_groups_list(context, with.groups.c_str()) == 1);
    if (server) {
      accepted_alpn = with.alpn;
      SSL_CTX_set_alpn_select_cb(context, &choose_alpn, this);
      // linkerd2-proxy resumes nothing either.
      SSL_CTX_set_num_tickets(context, 0);
    }
    ssl = SSL_new(context);
    must(SSL_set_fd(ssl, socket.get()) == 1);
    if (server) return;
    if (!with.server_name.empty()) must(SSL_set_tlsext_host_name(ssl, with.server_name.c_str()) == 1);
    const std::string offered = wire_format(with.alpn);
    if (!offered.empty())
      must(SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(offered.data()),
                               static_cast<unsigned>(offered.size())) == 0);
  }

  bool shake(int result) {
    if (result == 1) return true;
    const unsigned long code = ERR_peek_error();
    const char* reason = ERR_reason_error_string(code);
    failure = reason != nullptr ? reason : "connection ended";
    ERR_clear_error();
    return false;
  }

  // The mark of a read that brought nothing.
  std::string mark(int result) {
    if (ssl == nullptr) {
      if (result == 0) return "<end>";
      return errno == EAGAIN ? "<silent>" : "<reset>";
    }
    const int saved = errno;
    const int why = SSL_get_error(ssl, result);
    const bool truncated = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN) return "<end>";
    if (why == SSL_ERROR_WANT_READ) return "<silent>";
    if (why == SSL_ERROR_SYSCALL) return saved == EAGAIN ? "<silent>" : "<reset>";
    return truncated ? "<truncated>" : "<error>";
  }
};

Peer::Peer(Fd socket) : impl_(std::make_unique<Impl>()) {
  impl_->socket = std::move(socket);
  set_limit(usual_limit);
}
Peer::~Peer() = default;
Peer::Peer(Peer&&) noexcept = default;
Peer& Peer::operator=(Peer&&) noexcept = default;

Peer Peer::dial(const SocketAddress& to) {
  Fd socket(::socket(to.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t size = to.to_sockaddr(address);
  must(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  return Peer(std::move(socket));
}

void Peer::set_limit(std::chrono::milliseconds limit) {
  timeval time{};
  time.tv_sec = limit.count() / 1000;
  time.tv_usec = limit.count() % 1000 * 1000;
  ::setsockopt(impl_->socket.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(impl_->socket.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

bool Peer::connect_tls(const PeerTls& with) {
  impl_->prepare(with, false);
  return impl_->shake(SSL_connect(impl_->ssl));
}

bool Peer::accept_tls(const PeerTls& with) {
  impl_->prepare(with, true);
  return impl_->shake(SSL_accept(impl_->ssl));
}

std::string Peer::failure() const {
  return impl_->failure;
}

std::string Peer::alpn() const {
  if (impl_->ssl == nullptr) return {};
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(impl_->ssl, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string Peer::server_name() const {
  if (impl_->ssl == nullptr) return {};
  const char* name = SSL_get_servername(impl_->ssl, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

std::vector<std::string> Peer::offered_alpn() const {
  return impl_->offered_alpn;
}

std::vector<std::string> Peer::peer_names() const {
  std::vector<std::string> names;
  const X509* certificate = impl_->ssl != nullptr ? SSL_get0_peer_certificate(impl_->ssl) : nullptr;
  if (certificate == nullptr) return names;
  auto* all =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    int type = 0;
    const auto* text =
        static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type));
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                       static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(all);
  return names;
}

int Peer::tls_version() const {
  return impl_->ssl != nullptr ? SSL_version(impl_->ssl) : 0;
}

bool Peer::write(std::string_view text) {
  if (impl_->ssl != nullptr) {
    ERR_clear_error();
    std::size_t wrote = 0;
    return SSL_write_ex(impl_->ssl, text.data(), text.size(), &wrote) == 1 && wrote == text.size();
  }
  while (!text.empty()) {
    const ssize_t n = ::send(impl_->socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

std::string Peer::read_some(std::size_t size) {
  std::string buffer(size, '\0');
  if (impl_->ssl != nullptr) {
    ERR_clear_error();
    errno = 0;
    std::size_t got = 0;
    const int result = SSL_read_ex(impl_->ssl, buffer.data(), size, &got);
    if (result != 1) return impl_->mark(result);
    return buffer.substr(0, got);
  }
  const ssize_t n = ::recv(impl_->socket.get(), buffer.data(), size, 0);
  if (n <= 0) return impl_->mark(static_cast<int>(n));
  return buffer.substr(0, static_cast<std::size_t>(n));
}

namespace {
bool is_mark(const std::string& text) {
  return text == "<end>" || text == "<reset>" || text == "<error>" || text == "<silent>" ||
         text == "<truncated>";
}
}  // namespace

std::string Peer::read(std::size_t size) {
  std::string out;
  while (out.size() < size) {
    std::string more = read_some(size - out.size());
    out += more;
    if (is_mark(more)) break;
  }
  return out;
}

std::string Peer::read_until(std::string_view end) {
  std::string out;
  while (!out.ends_with(end)) {
    std::string more = read_some(1);
    out += more;
    if (is_mark(more)) break;
  }
  return out;
}

std::string Peer::read_rest() {
  std::string out;
  while (true) {
    const std::string more = read_some();
    if (more == "<end>") return out;
    out += more;
    if (is_mark(more)) return out;
  }
}

void Peer::finish() {
  if (impl_->ssl != nullptr) SSL_shutdown(impl_->ssl);
  ::shutdown(impl_->socket.get(), SHUT_WR);
}

void Peer::reset() {
  const linger now{1, 0};
  ::setsockopt(impl_->socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  impl_->socket.reset();
}

bool Peer::has_bytes() {
  char byte = 0;
  return ::recv(impl_->socket.get(), &byte, 1, MSG_PEEK) == 1;
}

bool Peer::was_reset() {
  char byte = 0;
  return ::recv(impl_->socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno != EAGAIN;
}

int Peer::descriptor() const {
  return impl_->socket.get();
}

PeerListener::PeerListener(const char* ip, std::uint16_t port)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const int on = 1;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage storage{};
  socklen_t size = SocketAddress{IpAddress::parse(ip).value(), port}.to_sockaddr(storage);
  must(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&storage), size) == 0);
  must(::listen(socket_.get(), 128) == 0);
  size = sizeof storage;
  must(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &size) == 0);
  address_ = SocketAddress::from(storage).value();
}

std::optional<Peer> PeerListener::accept(std::chrono::milliseconds limit) {
  pollfd ready{socket_.get(), POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(limit.count())) <= 0) return std::nullopt;
  Fd accepted(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!accepted) return std::nullopt;
  return Peer(std::move(accepted));
}

}  // namespace heddle::test
