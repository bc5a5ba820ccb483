// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "control/certify/authority.h"

namespace heddle::control {

struct StoreOptions {
  std::string state_dir;
  std::string trust_domain;
  Lifetimes lifetimes;
  // Given together or not at all; then nothing is made, and the files are read again when they change.
  std::string issuer_certificate_path;
  std::string issuer_key_path;
  std::string trust_anchors_path;
};

// The authority on disk. The state folder (locked against a second process; keys in it are 0600) holds
//   root.key root.crt            made once (10 years)
//   issuer.key issuer.crt        made from the root (1 year), again when 30 % of its life is left
//   trust-anchors.pem            0644, for agents and proxies; a copy when the files are given
//   server.key server.crt        heddle-control's own leaf
// Each file is replaced atomically and in an order that a crash at any point leaves usable: an issuer whose
// two files disagree is made again from the root. Thread-safe.
class AuthorityStore {
 public:
  static Result<std::unique_ptr<AuthorityStore>> open(StoreOptions options);

  std::shared_ptr<const Authority> current() const;
  // Call now and then: renews the issuer, or reads given files again. On an error the current authority
  // stays.
  Result<> refresh(Clock::time_point now = Clock::now());
  // Writes server.crt and server.key if there is none for `identity` under this authority, or if it has
  // passed 70 % of its life. The key file stays the same for as long as this process lives, so that a reader
  // never sees a key and a certificate that do not match.
  Result<> refresh_server_leaf(const std::string& identity, Clock::time_point now = Clock::now());

  std::string server_certificate_path() const { return options_.state_dir + "/server.crt"; }
  std::string server_key_path() const { return options_.state_dir + "/server.key"; }
  std::string trust_anchors_path() const { return options_.state_dir + "/trust-anchors.pem"; }

 private:
  explicit AuthorityStore(StoreOptions options) : options_(std::move(options)) {}

  bool given() const { return !options_.issuer_certificate_path.empty(); }
  std::string path(const char* name) const { return options_.state_dir + "/" + name; }
  Result<> lock();
  Result<AuthorityFiles> read_given() const;
  Result<Root> load_or_make_root(Clock::time_point now);
  Result<AuthorityFiles> load_or_make_own(Clock::time_point now);
  Result<AuthorityFiles> write_issuer(const Root& root, Clock::time_point now);
  Result<> use(const AuthorityFiles& files, Clock::time_point now);

  const StoreOptions options_;
  Fd lock_;
  AuthorityFiles files_;        // what current_ was made from
  std::string server_request_;  // DER, of this process' key
  Clock::time_point server_renewal_;
  std::shared_ptr<const Authority> server_signed_by_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Authority> current_;
};

}  // namespace heddle::control
