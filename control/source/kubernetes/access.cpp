// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/access.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "control/source/base64.h"
#include "control/source/reader.h"

namespace heddle::source::kubernetes {
namespace {

constexpr std::size_t text_limit = 1024 * 1024;

Error refuse(const std::string& why) {
  return make_error(Errc::invalid_argument, why);
}

std::optional<std::uint16_t> to_port(std::string_view text) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

// Nothing that could end a header line or a request line.
bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

std::string below(const std::string& folder, const std::string& path) {
  return path.starts_with('/') || folder.empty() ? path : folder + "/" + path;
}

// `KEY-data` in base64 goes before the file `KEY`, as in kubectl.
Result<Material> pem_material(Reader& in, const Value& map, const std::string& key,
                              const std::string& folder) {
  Material out;
  if (const std::string data = in.text(&map, key + "-data"); !data.empty()) {
    auto text = from_written_base64(data);
    if (!text || text->empty()) return refuse(key + "-data is not base64");
    out.text = std::move(*text);
    return out;
  }
  if (const std::string path = in.text(&map, key); !path.empty()) out.path = below(folder, path);
  return out;
}

}  // namespace

Result<Access> access_of_server(std::string_view url) {
  constexpr std::string_view scheme = "https://";
  const auto wrong = [&](const std::string& why) {
    return refuse("server '" + std::string(url.substr(0, 200)) + "' " + why);
  };
  if (!url.starts_with(scheme)) return wrong("is not https://HOST[:PORT]; heddle speaks to nothing else");
  if (!is_plain(url)) return wrong("contains blanks or control characters");
  std::string_view rest = url.substr(scheme.size());
  if (rest.find_first_of("?#@") != std::string_view::npos) return wrong("has a query, fragment or user name");
  Access out;
  const auto slash = std::min(rest.find('/'), rest.size());
  out.path_prefix = rest.substr(slash);
  while (out.path_prefix.ends_with('/')) out.path_prefix.pop_back();
  std::string_view authority = rest.substr(0, slash);
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) return wrong("lacks a ']'");
    out.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
  } else {
    const auto colon = std::min(authority.find(':'), authority.size());
    out.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (out.host.empty()) return wrong("names no host");
  if (!port.empty()) {
    const auto number = port.starts_with(':') ? to_port(port.substr(1)) : std::nullopt;
    if (!number) return wrong("has a wrong port");
    out.port = *number;
  }
  out.server_name = out.host;
  return out;
}

Result<Access> in_cluster_access(const std::string& host, const std::string& port,
                                 const std::string& folder) {
  if (host.empty() || port.empty()) {
    return make_error(
        Errc::not_found,
        "neither a kubeconfig (--kubeconfig, KUBECONFIG, ~/.kube/config) nor a pod's environment "
        "(KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT): give --kubeconfig PATH");
  }
  const bool v6 = host.find(':') != std::string::npos;
  auto out = access_of_server("https://" + (v6 ? "[" + host + "]" : host) + ":" + port);
  if (!out) return out;
  out->authority.path = folder + "/ca.crt";
  out->token.path = folder + "/token";
  return out;
}

Result<Kubeconfig::Entries> Kubeconfig::entries(const Value& document, std::string_view list,
                                                std::string_view key, const std::string& folder) {
  Entries out;
  Reader in;
  in.each_in(&document, list, [&](const Value& item) {
    const Value* value = in.map(&item, key);
    Entry entry{in.text(&item, "name"), value == nullptr ? Value{} : *value, folder};
    if (entry.name.empty()) in.fail(item, std::string(list) + ": an entry has no name");
    out.push_back(std::move(entry));
  });
  if (auto read = in.result(); !read) return read.error();
  return out;
}

Result<Kubeconfig> Kubeconfig::parse(std::string_view text, const std::string& folder) {
  Limits limits;
  limits.bytes = text_limit;
  limits.nodes = 50'000;
  const auto documents = read_yaml(text, limits);
  if (!documents) return documents.error();
  Kubeconfig out;
  if (documents->empty()) return out;  // as `kubectl config` leaves it when everything was deleted
  if (documents->size() > 1) return refuse("holds several documents; a kubeconfig is one");
  const Value& document = documents->front();
  if (document.kind != Value::Kind::map) return refuse("is not a kubeconfig (a map with clusters and users)");
  auto clusters = entries(document, "clusters", "cluster", folder);
  if (!clusters) return clusters.error();
  auto users = entries(document, "users", "user", folder);
  if (!users) return users.error();
  auto contexts = entries(document, "contexts", "context", folder);
  if (!contexts) return contexts.error();
  Reader in;
  out.current_ = in.text(&document, "current-context");
  if (auto read = in.result(); !read) return read.error();
  out.clusters_ = std::move(*clusters);
  out.users_ = std::move(*users);
  out.contexts_ = std::move(*contexts);
  return out;
}

void Kubeconfig::merge(Kubeconfig later) {
  const auto add = [](Entries& to, Entries&& from) {
    for (Entry& entry : from) {
      if (find(to, entry.name) == nullptr) to.push_back(std::move(entry));
    }
  };
  add(clusters_, std::move(later.clusters_));
  add(users_, std::move(later.users_));
  add(contexts_, std::move(later.contexts_));
  if (current_.empty()) current_ = std::move(later.current_);
}

const Kubeconfig::Entry* Kubeconfig::find(const Entries& entries, const std::string& name) {
  const auto found = std::ranges::find(entries, name, &Entry::name);
  return found == entries.end() ? nullptr : &*found;
}

Result<Access> Kubeconfig::access(const std::string& context, bool allow_insecure) const {
  const std::string& name = context.empty() ? current_ : context;
  if (name.empty()) return refuse("the kubeconfig has no current-context: give --context NAME");
  const Entry* chosen = find(contexts_, name);
  if (chosen == nullptr) {
    std::string known;
    for (const Entry& entry : contexts_) known += (known.empty() ? "" : ", ") + entry.name;
    return make_error(Errc::not_found, "the kubeconfig has no context '" + name + "', only: " + known);
  }
  Reader in;
  const std::string cluster_name = in.text(&chosen->value, "cluster");
  const std::string user_name = in.text(&chosen->value, "user");
  if (auto read = in.result(); !read) return read.error();
  const Entry* cluster = find(clusters_, cluster_name);
  if (cluster == nullptr) {
    return refuse("context '" + name + "' names cluster '" + cluster_name + "', which is not there");
  }
  auto out = cluster_access(*cluster, allow_insecure);
  if (!out || user_name.empty()) return out;
  const Entry* user = find(users_, user_name);
  if (user == nullptr) {
    return refuse("context '" + name + "' names user '" + user_name + "', which is not there");
  }
  if (auto added = add_user(*user, *out); !added) return added.error();
  return out;
}

Result<Access> Kubeconfig::cluster_access(const Entry& cluster, bool allow_insecure) {
  const std::string what = "cluster '" + cluster.name + "': ";
  Reader in;
  auto out = access_of_server(in.text(&cluster.value, "server"));
  if (!out) return refuse(what + out.error().detail);
  if (!in.text(&cluster.value, "proxy-url").empty()) {
    return make_error(Errc::unsupported, what + "proxy-url is not supported: name the API server itself");
  }
  if (const std::string name = in.text(&cluster.value, "tls-server-name"); !name.empty()) {
    if (!is_plain(name)) return refuse(what + "tls-server-name is not a name");
    out->server_name = name;
  }
  auto authority = pem_material(in, cluster.value, "certificate-authority", cluster.folder);
  if (!authority) return refuse(what + authority.error().detail);
  out->authority = std::move(*authority);
  out->skip_verification = in.flag(&cluster.value, "insecure-skip-tls-verify", false);
  if (auto read = in.result(); !read) return refuse(what + read.error().detail);
  if (out->skip_verification && !allow_insecure) {
    return make_error(Errc::permission_denied,
                      what +
                          "insecure-skip-tls-verify would let anybody pose as the API server: give "
                          "certificate-authority, or start with --insecure-skip-tls-verify to accept that");
  }
  return out;
}

Result<> Kubeconfig::add_user(const Entry& user, Access& access) {
  const std::string what = "user '" + user.name + "': ";
  for (const std::string_view key :
       {"auth-provider", "username", "password", "as", "as-groups", "as-uid", "as-user-extra"}) {
    const Value* value = user.value.find(key);
    if (value == nullptr || value->kind == Value::Kind::null) continue;
    return make_error(Errc::unsupported,
                      what + std::string(key) +
                          " is not supported: use exec, a token, a tokenFile or a client certificate "
                          "(`kubectl create token` makes a token)");
  }
  Reader in;
  auto certificate = pem_material(in, user.value, "client-certificate", user.folder);
  if (!certificate) return refuse(what + certificate.error().detail);
  auto key = pem_material(in, user.value, "client-key", user.folder);
  if (!key) return refuse(what + key.error().detail);
  access.token.text = in.text(&user.value, "token");
  if (const std::string path = in.text(&user.value, "tokenFile"); !path.empty()) {
    // kubectl prefers the file too; the text is what it was when the file was written.
    access.token = {{}, below(user.folder, path)};
  }
  if (auto read = in.result(); !read) return refuse(what + read.error().detail);
  if (!is_plain(access.token.text)) return refuse(what + "token contains blanks or control characters");
  if (certificate->empty() != key->empty()) {
    return refuse(what + "client-certificate and client-key belong together, one of them is missing");
  }
  access.certificate = std::move(*certificate);
  access.key = std::move(*key);
  const Value* exec = user.value.find("exec");
  if (exec == nullptr || exec->kind == Value::Kind::null) return {};
  auto plugin = exec_plugin_of(*exec, user.folder);
  if (!plugin) return Error{plugin.error().code, what + plugin.error().detail};
  access.plugin = std::move(*plugin);
  return {};
}

}  // namespace heddle::source::kubernetes
