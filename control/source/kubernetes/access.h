// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/source/document.h"
#include "control/source/kubernetes/exec_credential.h"

// PURE: reads no file and no environment; the client reads the files named here whenever it connects, so
// that replaced certificates and tokens are taken up.
namespace heddle::source::kubernetes {

class Credentials;

// Something in PEM, or a token: given in the configuration itself, or in a file.
struct Material {
  std::string text;
  std::string path;  // used if there is no text

  bool empty() const { return text.empty() && path.empty(); }
};

// Where the API server is, how it is verified, and who asks.
struct Access {
  std::string host;  // a name or an address, without brackets
  std::uint16_t port = 443;
  std::string path_prefix;  // before every path; empty, or begins with '/' and does not end with it
  std::string server_name;  // what its certificate must be for
  Material authority;       // empty: the system's
  bool skip_verification = false;
  Material certificate;  // both or none
  Material key;
  Material token;  // sent beside a certificate if there are both
  // A program that gives the token or the certificate; what is given above goes before it.
  std::optional<ExecPlugin> plugin;

  // What find_access() adds. Null: no program.
  std::shared_ptr<Credentials> credentials;
  // Empty: this never changes. Else reads anew where it came from; thread-safe, and what it gives has none.
  std::function<Result<Access>()> read_again;
};

// "https://HOST[:PORT][/PATH]"; anything else is refused, http:// too: tokens would be readable.
Result<Access> access_of_server(std::string_view url);

// The files every pod finds below `folder` (/var/run/secrets/kubernetes.io/serviceaccount), and what
// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say.
Result<Access> in_cluster_access(const std::string& host, const std::string& port, const std::string& folder);

// kubectl's configuration: one file, or several put together. Errors name the entry and the next step.
class Kubeconfig {
 public:
  // Relative paths in `text` are seen from `folder`.
  static Result<Kubeconfig> parse(std::string_view text, const std::string& folder);

  // Adds what `later` has and this one does not: of several files the first to say something wins.
  void merge(Kubeconfig later);

  // Of the context with this name, or of current-context when it is empty. A cluster that says
  // insecure-skip-tls-verify is refused unless `allow_insecure`. Errc::unsupported for what heddle cannot do
  // (auth providers, passwords, impersonation, proxies).
  Result<Access> access(const std::string& context, bool allow_insecure) const;

 private:
  struct Entry {
    std::string name;
    Value value;  // the map below `cluster`, `user` or `context`
    std::string folder;
  };
  using Entries = std::vector<Entry>;

  static Result<Entries> entries(const Value& document, std::string_view list, std::string_view key,
                                 const std::string& folder);
  static const Entry* find(const Entries& entries, const std::string& name);
  static Result<Access> cluster_access(const Entry& cluster, bool allow_insecure);
  static Result<> add_user(const Entry& user, Access& access);

  Entries clusters_;
  Entries users_;
  Entries contexts_;
  std::string current_;
};

}  // namespace heddle::source::kubernetes
