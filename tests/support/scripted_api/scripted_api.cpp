// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scripted_api/scripted_api.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "tests/support/scripted_api/reply.h"

namespace heddle::test {
namespace {

template <class T, auto Free>
struct Freed {
  void operator()(T* what) const { Free(what); }
};
using Ctx = std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>>;
using Tls = std::unique_ptr<SSL, Freed<SSL, SSL_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
std::unique_ptr<BIO, BioFree> bio_of(const std::string& pem) {
  return std::unique_ptr<BIO, BioFree>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// HTTP/2 if the client offers it.
int choose_h2(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
              unsigned int offered_size, void*) {
  static constexpr unsigned char ours[] = {2, 'h', '2'};  // what is chosen points into it
  unsigned char* chosen = nullptr;
  const int outcome = SSL_select_next_proto(&chosen, size, ours, sizeof ours, offered, offered_size);
  *out = chosen;
  return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

Ctx make_context(const std::string& certificate, const std::string& key, const std::string& client_root,
                 bool h2) {
  Ctx context(SSL_CTX_new(TLS_server_method()));
  if (h2) SSL_CTX_set_alpn_select_cb(context.get(), choose_h2, nullptr);
  const Certificate leaf(PEM_read_bio_X509(bio_of(certificate).get(), nullptr, nullptr, nullptr));
  const Key pkey(PEM_read_bio_PrivateKey(bio_of(key).get(), nullptr, nullptr, nullptr));
  if (SSL_CTX_use_certificate(context.get(), leaf.get()) != 1) std::abort();
  if (SSL_CTX_use_PrivateKey(context.get(), pkey.get()) != 1) std::abort();
  if (client_root.empty()) return context;
  const Certificate root(PEM_read_bio_X509(bio_of(client_root).get(), nullptr, nullptr, nullptr));
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

std::string kind_of(const std::string& path) {
  if (path.ends_with("endpointslices")) return "EndpointSlice";
  if (path == ScriptedApi::namespaces) return "Namespace";
  if (path == ScriptedApi::nodes) return "Node";
  if (path == ScriptedApi::pods) return "Pod";
  return path == ScriptedApi::services ? "Service" : "Endpoints";
}

std::string version_of(const std::string& path) {
  if (!path.starts_with("/apis/")) return "v1";
  return path.substr(6, path.rfind('/') - 6);
}

std::string with_version(const std::string& object, std::uint64_t version) {
  const std::string begin = "{\"metadata\":{";
  if (!object.starts_with(begin)) std::abort();
  return begin + "\"resourceVersion\":\"" + std::to_string(version) + "\"," + object.substr(begin.size());
}

std::string event(const std::string& type, const std::string& path, const std::string& object) {
  return "{\"type\":\"" + type + "\",\"object\":{\"kind\":\"" + kind_of(path) + "\",\"apiVersion\":\"" +
         version_of(path) + "\"," + object.substr(1) + "}\n";
}

std::string status_body(int code, const std::string& message) {
  return R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":")" + message +
         R"(","code":)" + std::to_string(code) + "}";
}

constexpr const char* by_name = "fieldSelector=metadata.name%3D";

std::string parameter(const std::string& query, const std::string& name) {
  const auto at = ("&" + query).find("&" + name + "=");
  if (at == std::string::npos) return {};
  const std::string rest = query.substr(at + name.size() + 1);
  return rest.substr(0, rest.find('&'));
}

}  // namespace

struct ScriptedApi::Connection {
  int fd;
  Ctx context;
  std::uint32_t most_streams;
  bool frozen;
  Tls tls;
  H2Server* h2 = nullptr;  // while it is served
};

ScriptedApi::ScriptedApi(Authority& authority, bool speaks_h2) : speaks_h2_(speaks_h2) {
  ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to connections that the client has ended
  Authority::Leaf leaf;
  leaf.names = {"kubernetes"};
  const auto pair = authority.issue(leaf);
  certificate_ = pair.certificate_pem;
  key_ = pair.key_pem;
  start();
}

ScriptedApi::~ScriptedApi() {
  stop();
}

void ScriptedApi::start() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port_);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0) std::abort();
  if (::listen(listener_, 64) != 0) std::abort();
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  stopping_ = false;
  acceptor_ = std::thread([this] { accept(); });
}

void ScriptedApi::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    for (Connection* connection : connections_) ::shutdown(connection->fd, SHUT_RDWR);
    changed_.notify_all();
  }
  acceptor_.join();
  ::close(listener_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ScriptedApi::accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      if (fd >= 0) ::close(fd);
      return;
    }
    if (fd < 0) continue;
    ++accepted_;
    auto connection = std::make_shared<Connection>();
    connection->fd = fd;
    connection->context = make_context(certificate_, key_, client_root_, speaks_h2_);
    connection->most_streams = most_streams_;
    connection->frozen = begin_frozen_;
    connections_.insert(connection.get());
    threads_.emplace_back([this, connection] { serve(*connection); });
  }
}

std::string ScriptedApi::Asked::field(std::string name) const {
  const auto lower = [](std::string& text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  };
  std::string all = header;
  lower(all);
  lower(name);
  const auto at = all.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const auto begin = at + name.size() + 4;
  return header.substr(begin, header.find("\r\n", begin) - begin);
}

void ScriptedApi::serve(Connection& connection) {
  connection.tls.reset(SSL_new(connection.context.get()));
  SSL_set_fd(connection.tls.get(), connection.fd);
  if (SSL_accept(connection.tls.get()) == 1) {
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(connection.tls.get(), &name, &size);
    size == 0 ? serve_h1(connection) : serve_h2(connection);
  }
  const std::lock_guard lock(mutex_);
  connections_.erase(&connection);
  changed_.notify_all();
  ::close(connection.fd);
}

void ScriptedApi::serve_h1(Connection& connection) {
  H1Reply reply(connection.tls.get());
  std::string input;
  char piece[4096];
  bool alive = true;
  while (alive) {
    const auto end = input.find("\r\n\r\n");
    Asked asked;
    if (end != std::string::npos) asked.header = input.substr(0, end + 2);
    const std::size_t body = std::strtoull(asked.field("Content-Length").c_str(), nullptr, 10);
    if (end == std::string::npos || input.size() < end + 4 + body) {
      const int got = SSL_read(connection.tls.get(), piece, sizeof piece);
      if (got <= 0) break;
      input.append(piece, static_cast<std::size_t>(got));
      continue;
    }
    asked.body = input.substr(end + 4, body);
    input.erase(0, end + 4 + body);
    asked.method = asked.header.substr(0, asked.header.find(' '));
    const auto begin = asked.method.size() + 1;
    asked.target = asked.header.substr(begin, asked.header.find(' ', begin) - begin);
    alive = answer(reply, asked);
  }
}

void ScriptedApi::serve_h2(Connection& connection) {
  H2Server::Options options;
  options.most_streams = connection.most_streams;
  options.frozen = connection.frozen;
  options.answer = [&](const H2Server::Request& request, H2Server::Stream& stream) {
    H2Reply reply(stream);
    const bool keep = answer(reply, {request.method, request.target, request.header, request.body});
    if (!keep && !stream.gone()) ::shutdown(connection.fd, SHUT_RDWR);
  };
  options.on_gone = [&] {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  };
  H2Server server(connection.tls.get(), connection.fd, std::move(options));
  {
    const std::lock_guard lock(mutex_);
    connection.h2 = &server;
  }
  server.serve();
  const std::lock_guard lock(mutex_);
  connection.h2 = nullptr;
}

ScriptedApi::Canned ScriptedApi::answer_to(const Asked& asked) {
  // Watches of single objects come at any time: no answer is meant for them that does not say so.
  const bool one = asked.target.find(by_name) != std::string::npos;
  for (auto& [part, answers] : canned_) {
    if (one && part.find("fieldSelector") == std::string::npos) continue;
    if (asked.target.find(part) == std::string::npos || answers.empty()) continue;
    Canned out = answers.front();
    answers.pop_front();
    return out;
  }
  const auto mark = std::min(asked.target.find('?'), asked.target.size());
  const std::string path = asked.target.substr(0, mark);
  const std::string query = mark < asked.target.size() ? asked.target.substr(mark + 1) : std::string();
  if (!token_.empty() && asked.field("Authorization") != "Bearer " + token_) {
    return {"401 Unauthorized", "", status_body(401, "Unauthorized")};
  }
  Canned out{"200 OK", "", ""};
  if (asked.method != "GET") {
    keep_change(asked);
    if (asked.method == "POST") out.status = "201 Created";
    out.body = asked.body;
  } else if (one) {
    // A watch, be the object there or not.
  } else if (const auto kept = kept_.find(path); kept != kept_.end()) {
    out.body = kept->second;
  } else if (path.starts_with("/apis") && !path.ends_with("endpointslices") &&
             !path.ends_with("daemonsets")) {
    out.body = discovery(path, out.status);
  } else if (!served(path)) {
    out = {"404 Not Found", "", status_body(404, "the server could not find the requested resource")};
  } else if (path.starts_with("/api/v1/namespaces/")) {
    out.body = single(path, out.status);
  } else if (query.find("watch=1") == std::string::npos) {
    out.body = list(path, query, out.status);
  }
  return out;
}

bool ScriptedApi::answer(Reply& reply, const Asked& asked) {
  Canned out;
  {
    std::unique_lock lock(mutex_);
    asked_.push_back(asked);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !holding_answers_ || stopping_ || reply.gone(); });
    out = answer_to(asked);
  }
  if (out.reset != 0) return reply.break_off(out.reset);
  if (out.status.empty()) return false;
  const auto mark = std::min(asked.target.find('?'), asked.target.size());
  const std::string query = asked.target.substr(mark);
  const bool watching = query.find("watch=1") != std::string::npos;
  if (watching && out.status == "200 OK" && out.body.empty()) {
    return watch(reply, asked.target.substr(0, mark), query.substr(1));
  }
  return reply.whole(out.status, out.headers, out.body);
}

void ScriptedApi::keep(const std::string& path, const std::string& object) {
  const std::lock_guard lock(mutex_);
  keep_now(path, object);
}

void ScriptedApi::keep_now(const std::string& path, const std::string& object) {
  const bool is_new = kept_.insert_or_assign(path, object).second;
  const auto slash = path.rfind('/');
  events_.push_back(
      {++version_, path.substr(0, slash),
       std::string(R"({"type":")") + (is_new ? "ADDED" : "MODIFIED") + R"(","object":)" + object + "}\n",
       path.substr(slash + 1)});
  changed_.notify_all();
}

void ScriptedApi::keep_change(const Asked& asked) {
  const bool whole = asked.target.find("/secrets") != std::string::npos ||
                     asked.target.find("/configmaps") != std::string::npos;
  if (!whole || asked.method == "PATCH") return;
  const std::string field = R"("metadata":{"name":")";
  const auto at = asked.body.find(field);
  if (at == std::string::npos) return;
  const auto begin = at + field.size();
  const auto name = asked.body.substr(begin, asked.body.find('"', begin) - begin);
  keep_now(asked.method == "POST" ? asked.target + "/" + name : asked.target, asked.body);
}

// "/api/v1/namespaces/NAME" or "/api/v1/namespaces/NS/pods/NAME".
std::string ScriptedApi::single(const std::string& path, std::string& status) const {
  const bool is_pod = path.find("/pods/") != std::string::npos;
  const std::string collection = is_pod ? pods : namespaces;
  const std::string name = path.substr(path.rfind('/') + 1);
  const auto kind = objects_.find(collection);
  if (kind != objects_.end() && kind->second.contains(name)) {
    std::string object = kind->second.at(name);
    return object.insert(1, "\"kind\":\"" + kind_of(collection) + R"(","apiVersion":"v1",)");
  }
  status = "404 Not Found";
  return status_body(404, "not found");
}

bool ScriptedApi::served(const std::string& path) const {
  if (!path.starts_with("/apis/discovery.k8s.io/")) return true;
  return slice_versions_.contains(version_of(path).substr(std::string("discovery.k8s.io/").size()));
}

std::string ScriptedApi::discovery(const std::string& path, std::string& status) const {
  if (path == "/apis") {
    std::string versions;
    for (const std::string& version : slice_versions_) {
      versions += (versions.empty() ? "" : ",") + std::string(R"({"version":")") + version + "\"}";
    }
    return R"({"kind":"APIGroupList","groups":[{"name":"discovery.k8s.io","versions":[)" + versions + "]}]}";
  }
  if (slice_versions_.contains(path.substr(path.rfind('/') + 1))) {
    return R"({"kind":"APIResourceList","resources":[{"name":"endpointslices","verbs":["list","watch"]}]})";
  }
  status = "404 Not Found";
  return status_body(404, "not found");
}

std::string ScriptedApi::list(const std::string& path, const std::string& query, std::string& status) {
  const std::string token = parameter(query, "continue");
  std::size_t begin = 0;
  if (!token.empty()) {
    if (std::strtoull(token.c_str(), nullptr, 10) < token_epoch_) {
      status = "410 Gone";
      return status_body(410, "The provided continue parameter is too old");
    }
    begin = std::strtoull(token.c_str() + token.find('.') + 1, nullptr, 10);
  }
  const std::size_t limit = std::min<std::size_t>(page_limit_, std::stoul(parameter(query, "limit")));
  std::string items;
  std::size_t index = 0;
  for (const auto& [name, object] : objects_[path]) {
    if (index >= begin && index < begin + limit) items += (items.empty() ? "" : ",") + object;
    ++index;
  }
  std::string more;
  if (begin + limit < index) {
    more = ",\"continue\":\"" + std::to_string(token_epoch_) + "." + std::to_string(begin + limit) + "\"";
  }
  return "{\"kind\":\"" + kind_of(path) + "List\",\"apiVersion\":\"" + version_of(path) +
         R"(","metadata":{"resourceVersion":")" + std::to_string(version_) + "\"" + more + "},\"items\":[" +
         items + "]}";
}

bool ScriptedApi::watch(Reply& reply, const std::string& path, const std::string& query) {
  std::unique_lock lock(mutex_);
  // Before the client can know that it watches: from then on a test may end it.
  const std::uint64_t endings = endings_;
  lock.unlock();
  if (!reply.begin()) return false;
  const std::string version = parameter(query, "resourceVersion");
  std::uint64_t from = std::strtoull(version.c_str(), nullptr, 10);
  const bool one = query.find(by_name) != std::string::npos;
  const std::string name =
      one ? parameter(query, "fieldSelector").substr(std::string("metadata.name%3D").size()) : std::string();
  lock.lock();
  std::string first;
  if (version == "0") {  // from what there is
    from = version_;
    const auto kept = kept_.find(path + "/" + name);
    if (kept != kept_.end()) first = R"({"type":"ADDED","object":)" + kept->second + "}\n";
  }
  std::size_t next = 0;
  while (next < events_.size() && events_[next].version <= from) ++next;
  ++watches_[path];
  changed_.notify_all();
  bool alive = true;
  bool over = false;
  while (alive && !over) {
    std::string out = std::exchange(first, {});
    if (from < oldest_) {
      out = "{\"type\":\"ERROR\",\"object\":" + status_body(410, "too old resource version") + "}\n";
      over = true;
    } else if (!holding_) {
      for (; next < events_.size(); ++next) {
        const bool wanted = events_[next].path == path && (!one || events_[next].name == name);
        if (wanted) out += events_[next].line;
        from = std::max(from, events_[next].version);
      }
    }
    over |= endings != endings_ || stopping_ || reply.gone();
    if (out.empty() && !over) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    alive = out.empty() || reply.piece(out);
    lock.lock();
  }
  const bool cleanly = end_cleanly_ && !stopping_;
  --watches_[path];
  changed_.notify_all();
  lock.unlock();
  if (reply.gone()) return true;
  return cleanly ? alive && reply.end() : reply.break_off(NGHTTP2_INTERNAL_ERROR);
}

void ScriptedApi::put(const std::string& path, const std::string& name, const std::string& object) {
  const std::lock_guard lock(mutex_);
  const std::string versioned = with_version(object, ++version_);
  const bool is_new = objects_[path].insert_or_assign(name, versioned).second;
  events_.push_back({version_, path, event(is_new ? "ADDED" : "MODIFIED", path, versioned), name});
  changed_.notify_all();
}

void ScriptedApi::remove(const std::string& path, const std::string& name) {
  const std::lock_guard lock(mutex_);
  events_.push_back({++version_, path, event("DELETED", path, objects_[path].at(name)), name});
  objects_[path].erase(name);
  changed_.notify_all();
}

void ScriptedApi::bookmark(const std::string& path) {
  const std::lock_guard lock(mutex_);
  ++version_;
  events_.push_back(
      {version_, path, event("BOOKMARK", path, with_version(R"({"metadata":{"x":1}})", version_))});
  changed_.notify_all();
}

void ScriptedApi::rewrite(const std::string& path, const std::map<std::string, std::string>& objects) {
  const std::lock_guard lock(mutex_);
  objects_[path].clear();
  for (const auto& [name, object] : objects) objects_[path][name] = with_version(object, ++version_);
}

void ScriptedApi::limit_pages(std::size_t objects) {
  const std::lock_guard lock(mutex_);
  page_limit_ = objects;
}

void ScriptedApi::expire_continue_tokens() {
  const std::lock_guard lock(mutex_);
  ++token_epoch_;
}

void ScriptedApi::expire_versions() {
  const std::lock_guard lock(mutex_);
  oldest_ = ++version_;
  changed_.notify_all();
}

void ScriptedApi::end_watches(bool cleanly) {
  const std::lock_guard lock(mutex_);
  ++endings_;
  end_cleanly_ = cleanly;
  changed_.notify_all();
}

void ScriptedApi::hold_watches(bool hold) {
  const std::lock_guard lock(mutex_);
  holding_ = hold;
  changed_.notify_all();
}

void ScriptedApi::send_to_watches(const std::string& path, const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  events_.push_back({++version_, path, bytes});
  changed_.notify_all();
}

void ScriptedApi::hold_answers(bool hold) {
  const std::lock_guard lock(mutex_);
  holding_answers_ = hold;
  changed_.notify_all();
}

void ScriptedApi::cut_connections() {
  const std::lock_guard lock(mutex_);
  for (Connection* connection : connections_) ::shutdown(connection->fd, SHUT_RDWR);
}

void ScriptedApi::say_farewell() {
  const std::lock_guard lock(mutex_);
  for (Connection* connection : connections_) {
    if (connection->h2 != nullptr) connection->h2->say_farewell();
  }
}

void ScriptedApi::freeze_connections(bool freeze) {
  const std::lock_guard lock(mutex_);
  for (Connection* connection : connections_) {
    if (connection->h2 != nullptr) connection->h2->freeze(freeze);
  }
}

void ScriptedApi::begin_frozen(bool frozen) {
  const std::lock_guard lock(mutex_);
  begin_frozen_ = frozen;
}

std::size_t ScriptedApi::pings() const {
  const std::lock_guard lock(mutex_);
  std::size_t out = 0;
  for (const Connection* connection : connections_) {
    if (connection->h2 != nullptr) out += connection->h2->pings();
  }
  return out;
}

void ScriptedApi::speak_h2(bool speaks) {
  const std::lock_guard lock(mutex_);
  speaks_h2_ = speaks;
}

void ScriptedApi::limit_streams(std::uint32_t most) {
  const std::lock_guard lock(mutex_);
  most_streams_ = most;
}

std::pair<std::int64_t, std::int64_t> ScriptedApi::windows() const {
  const std::lock_guard lock(mutex_);
  for (Connection* connection : connections_) {
    if (connection->h2 == nullptr) continue;
    return {connection->h2->connection_window(), connection->h2->stream_window()};
  }
  return {0, 0};
}

void ScriptedApi::answer_next(const std::string& part, Canned canned) {
  const std::lock_guard lock(mutex_);
  canned_[part].push_back(std::move(canned));
}

void ScriptedApi::serve_slices(const std::set<std::string>& versions) {
  const std::lock_guard lock(mutex_);
  slice_versions_ = versions;
}

void ScriptedApi::require_token(const std::string& token) {
  const std::lock_guard lock(mutex_);
  token_ = token;
}

void ScriptedApi::require_certificate_of(const std::string& root_pem) {
  const std::lock_guard lock(mutex_);
  client_root_ = root_pem;
}

std::size_t ScriptedApi::accepted() const {
  const std::lock_guard lock(mutex_);
  return accepted_;
}

std::size_t ScriptedApi::connected() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

std::size_t ScriptedApi::requests(const std::string& part) const {
  return targets(part).size();
}

std::vector<std::string> ScriptedApi::targets(const std::string& part) const {
  std::vector<std::string> out;
  for (const Asked& each : asked(part)) out.push_back(each.target);
  return out;
}

std::vector<ScriptedApi::Asked> ScriptedApi::asked(const std::string& part) const {
  const std::lock_guard lock(mutex_);
  std::vector<Asked> out;
  for (const Asked& each : asked_) {
    if (each.target.find(part) != std::string::npos) out.push_back(each);
  }
  return out;
}

std::vector<ScriptedApi::Asked> ScriptedApi::changes(const std::string& part) const {
  auto out = asked(part);
  std::erase_if(out, [](const Asked& one) { return one.method == "GET"; });
  return out;
}

std::vector<std::string> ScriptedApi::bodies(const std::string& what) const {
  std::vector<std::string> out;
  for (const Asked& one : asked({})) {
    if (one.method + " " + one.target == what) out.push_back(one.body);
  }
  return out;
}

std::size_t ScriptedApi::open_watches(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto found = watches_.find(path);
  return found == watches_.end() ? 0 : found->second;
}

}  // namespace heddle::test
