// SPDX-License-Identifier: Apache-2.0
#include "control/certify/store.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/io/file.h"
#include "control/certify/openssl.h"
#include "control/certify/signing_request.h"

namespace heddle::control {
namespace {

constexpr std::size_t largest_pem = 1024 * 1024;

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// True when 70 % of the time from `from` to `to` has passed.
bool is_due(Clock::time_point from, Clock::time_point to, Clock::time_point now) {
  return now >= from + std::chrono::duration_cast<Clock::duration>((to - from) * 0.7);
}

}  // namespace

Result<std::unique_ptr<AuthorityStore>> AuthorityStore::open(StoreOptions options) {
  const int given = !options.issuer_certificate_path.empty() + !options.issuer_key_path.empty() +
                    !options.trust_anchors_path.empty();
  if (given != 0 && given != 3) {
    return make_error(
        Errc::invalid_argument,
        "give all three of --identity-issuer-certificate, --identity-issuer-key and --trust-anchors, "
        "or none of them");
  }
  std::unique_ptr<AuthorityStore> store(new AuthorityStore(std::move(options)));
  if (auto locked = store->lock(); !locked) return locked.error();
  const Clock::time_point now = Clock::now();
  auto files = store->given() ? store->read_given() : store->load_or_make_own(now);
  if (!files) return files.error();
  if (auto used = store->use(*files, now); !used) return used.error();
  if (auto refreshed = store->refresh(now); !refreshed) return refreshed.error();
  return store;
}

Result<> AuthorityStore::lock() {
  // Others need to read the trust anchors in it; the keys are 0600 themselves.
  if (auto made = make_directories(options_.state_dir, 0755); !made) return made;
  const std::string file = path("lock");
  lock_ = Fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_) return make_errno(errno, "cannot write in --state-dir: " + file);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return make_error(Errc::already_exists, "another heddle-control uses --state-dir " + options_.state_dir);
  }
  return {};
}

std::shared_ptr<const Authority> AuthorityStore::current() const {
  const std::lock_guard guard(mutex_);
  return current_;
}

Result<AuthorityFiles> AuthorityStore::read_given() const {
  AuthorityFiles files;
  for (auto [path, text] : {std::pair(&options_.issuer_certificate_path, &files.issuer_certificate),
                            std::pair(&options_.issuer_key_path, &files.issuer_key),
                            std::pair(&options_.trust_anchors_path, &files.trust_anchors)}) {
    auto content = read_file(*path, largest_pem);
    if (!content) return content.error();
    *text = std::move(*content);
  }
  return files;
}

Result<Root> AuthorityStore::load_or_make_root(Clock::time_point now) {
  const bool has_certificate = exists(path("root.crt"));
  if (has_certificate && exists(path("root.key"))) {
    auto certificate = read_file(path("root.crt"), largest_pem);
    auto key = read_file(path("root.key"), largest_pem);
    if (!certificate) return certificate.error();
    if (!key) return key.error();
    return Root{std::move(*certificate), std::move(*key)};
  }
  // Peers trust what the anchors say: never begin anew behind their back.
  if (has_certificate || exists(trust_anchors_path())) {
    return make_error(Errc::not_found,
                      "root.key and root.crt do not both exist in " + options_.state_dir +
                          ": restore them, or remove the folder's files to begin with a new root "
                          "(agents and proxies then need the new trust-anchors.pem)");
  }
  // A key without its certificate is what a crash before the certificate left: nobody has seen that root.
  auto root = make_root(options_.trust_domain, now);
  if (!root) return root;
  if (auto wrote = write_file_atomically(path("root.key"), root->key, 0600); !wrote) return wrote.error();
  if (auto wrote = write_file_atomically(path("root.crt"), root->certificate, 0644); !wrote)
    return wrote.error();
  spdlog::info("made a root certificate path={} life_days=3650", path("root.crt"));
  return root;
}

Result<AuthorityFiles> AuthorityStore::write_issuer(const Root& root, Clock::time_point now) {
  auto issuer = make_issuer(root, "issuer.heddle." + options_.trust_domain, now);
  if (!issuer) return issuer.error();
  if (auto wrote = write_file_atomically(path("issuer.key"), issuer->key, 0600); !wrote) return wrote.error();
  if (auto wrote = write_file_atomically(path("issuer.crt"), issuer->certificate, 0644); !wrote)
    return wrote.error();
  spdlog::info("made an issuer certificate path={} life_days=365", path("issuer.crt"));
  return AuthorityFiles{std::move(issuer->certificate), std::move(issuer->key), root.certificate};
}

Result<AuthorityFiles> AuthorityStore::load_or_make_own(Clock::time_point now) {
  auto root = load_or_make_root(now);
  if (!root) return root.error();
  auto certificate = read_file(path("issuer.crt"), largest_pem);
  auto key = read_file(path("issuer.key"), largest_pem);
  if (!certificate || !key) return write_issuer(*root, now);
  AuthorityFiles files{std::move(*certificate), std::move(*key), root->certificate};
  if (auto loaded = Authority::load(files, options_.lifetimes, now); !loaded) {
    spdlog::warn("the issuer cannot be used, making another from the root why=\"{}\"",
                 loaded.error().message());
    return write_issuer(*root, now);
  }
  return files;
}

Result<> AuthorityStore::use(const AuthorityFiles& files, Clock::time_point now) {
  auto loaded = Authority::load(files, options_.lifetimes, now);
  if (!loaded) return loaded.error();
  const auto anchors = read_file(trust_anchors_path(), largest_pem);
  if (!anchors || *anchors != files.trust_anchors) {
    if (auto wrote = write_file_atomically(trust_anchors_path(), files.trust_anchors, 0644); !wrote)
      return wrote;
  }
  files_ = files;
  const std::lock_guard guard(mutex_);
  current_ = std::move(*loaded);
  return {};
}

Result<> AuthorityStore::refresh(Clock::time_point now) {
  if (given()) {
    auto files = read_given();
    if (!files) return files.error();
    const bool same = files->issuer_certificate == files_.issuer_certificate &&
                      files->issuer_key == files_.issuer_key && files->trust_anchors == files_.trust_anchors;
    if (same) return {};
    if (auto used = use(*files, now); !used) return used;
    spdlog::info("using the new issuer certificate path={}", options_.issuer_certificate_path);
    return {};
  }
  const auto authority = current();
  if (!is_due(authority->not_before(), authority->not_after(), now)) return {};
  auto root = load_or_make_root(now);
  if (!root) return root.error();
  auto files = write_issuer(*root, now);
  if (!files) return files.error();
  return use(*files, now);
}

Result<> AuthorityStore::refresh_server_leaf(const std::string& identity, Clock::time_point now) {
  const auto authority = current();
  if (server_signed_by_ == authority && now < server_renewal_) return {};
  if (server_request_.empty()) {
    auto request = make_signing_request(identity);
    if (!request) return request.error();
    if (auto wrote = write_file_atomically(server_key_path(), request->key_pem, 0600); !wrote) return wrote;
    server_request_ = std::move(request->der);
  }
  auto key = check_signing_request(server_request_, identity);
  if (!key) return key.error();
  auto issued = authority->issue(*key, identity, now);
  if (!issued) return issued.error();
  std::string pem;
  std::vector<std::string> chain{issued->leaf};
  chain.insert(chain.end(), issued->intermediates.begin(), issued->intermediates.end());
  for (const std::string& der : chain) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    const CertificatePtr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    auto text = to_pem(certificate.get());
    if (!text) return text.error();
    pem += *text;
  }
  if (auto wrote = write_file_atomically(server_certificate_path(), pem, 0644); !wrote) return wrote;
  server_signed_by_ = authority;
  server_renewal_ = now + std::chrono::duration_cast<Clock::duration>((issued->valid_until - now) * 0.7);
  return {};
}

}  // namespace heddle::control
