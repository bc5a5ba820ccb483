// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/authority/authority.h"

namespace heddle::test {

class H2Server;
class Reply;

// An API server of a cluster as a client sees it, on the loopback, with real TLS and HTTP/2 (or HTTP/1.1
// only): lists in pages, watches, and whatever goes wrong with them. Thread-safe.
class ScriptedApi {
 public:
  static constexpr const char* namespaces = "/api/v1/namespaces";
  static constexpr const char* nodes = "/api/v1/nodes";
  static constexpr const char* pods = "/api/v1/pods";
  static constexpr const char* services = "/api/v1/services";
  static constexpr const char* endpoints = "/api/v1/endpoints";
  static constexpr const char* slices = "/apis/discovery.k8s.io/v1/endpointslices";
  static constexpr const char* old_slices = "/apis/discovery.k8s.io/v1beta1/endpointslices";

  // The certificate is for the name "kubernetes".
  explicit ScriptedApi(Authority& authority, bool speaks_h2 = true);
  ~ScriptedApi();
  ScriptedApi(const ScriptedApi&) = delete;
  ScriptedApi& operator=(const ScriptedApi&) = delete;

  std::uint16_t port() const { return port_; }
  void stop();   // every connection is cut, new ones are refused
  void start();  // on the same port, with the same objects

  // `object` begins with {"metadata":{ and has a name; kind, apiVersion and resourceVersion are added.
  void put(const std::string& path, const std::string& name, const std::string& object);
  void remove(const std::string& path, const std::string& name);
  void bookmark(const std::string& path);  // of the latest version, to every watch
  // Objects are forgotten and others come without any event: as after a history that a client missed.
  void rewrite(const std::string& path, const std::map<std::string, std::string>& objects);

  void limit_pages(std::size_t objects);
  void expire_continue_tokens();  // those given so far
  void expire_versions();         // watches from before now get 410, running ones too
  void end_watches(bool cleanly);
  void hold_watches(bool hold);  // nothing is written to them
  void send_to_watches(const std::string& path, const std::string& bytes);
  // Requests are taken, and answered only when this ends; watches are not concerned.
  void hold_answers(bool hold);
  void cut_connections();  // those there are, without a word
  // Of HTTP/2, on the connections there are: GOAWAY; nothing is read or written any longer.
  void say_farewell();
  void freeze_connections(bool freeze);
  // On connections to come: nothing is said after TLS; HTTP/2 is not offered; so many streams at once.
  void begin_frozen(bool frozen);
  void speak_h2(bool speaks);
  void limit_streams(std::uint32_t most);
  // That the client has granted on one of the connections: of all, and of each stream.
  std::pair<std::int64_t, std::int64_t> windows() const;
  std::size_t pings() const;  // on the connections there are
  // The next request whose target contains `part` gets this, once.
  struct Canned {
    std::string status;  // "429 Too Many Requests"; empty: the connection is cut instead
    std::string headers;
    std::string body;
    std::uint32_t reset = 0;  // not 0: over HTTP/2, the stream is reset with this error instead
  };
  void answer_next(const std::string& part, Canned canned);
  // A single object by its whole path, of which watches are told; Secrets and ConfigMaps that clients POST
  // and PUT are kept, too.
  void keep(const std::string& path, const std::string& object);
  void serve_slices(const std::set<std::string>& versions);  // "v1" at first
  void require_token(const std::string& token);              // empty: no token is asked for
  void require_certificate_of(const std::string& root_pem);

  std::size_t accepted() const;   // connections, ever
  std::size_t connected() const;  // now
  // Requests so far whose target contains `part`.
  std::size_t requests(const std::string& part) const;
  std::vector<std::string> targets(const std::string& part) const;
  struct Asked {
    std::string method;
    std::string target;
    std::string header;  // all of it, in lines that end with CRLF
    std::string body;

    std::string field(std::string name) const;  // empty: not there; case does not matter
  };
  std::vector<Asked> asked(const std::string& part) const;
  // Those of them that change something: answered 201 with their own body, unless answer_next() says
  // otherwise.
  std::vector<Asked> changes(const std::string& part) const;
  // Bodies of requests by method and target: "PATCH /api/v1/nodes/n1".
  std::vector<std::string> bodies(const std::string& what) const;
  std::size_t open_watches(const std::string& path) const;

 private:
  struct Connection;
  struct Event {
    std::uint64_t version;
    std::string path;
    std::string line;
    std::string name = {};  // empty: of no single object
  };

  void accept();
  void serve(Connection& connection);
  void serve_h1(Connection& connection);
  void serve_h2(Connection& connection);
  // False: the connection is to be closed.
  bool answer(Reply& reply, const Asked& asked);
  Canned answer_to(const Asked& asked);
  bool watch(Reply& reply, const std::string& path, const std::string& query);
  std::string list(const std::string& path, const std::string& query, std::string& status);
  void keep_change(const Asked& asked);
  void keep_now(const std::string& path, const std::string& object);
  std::string single(const std::string& path, std::string& status) const;
  std::string discovery(const std::string& path, std::string& status) const;
  bool served(const std::string& path) const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string certificate_;
  std::string key_;
  std::string client_root_;
  std::string token_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  bool stopping_ = false;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
  std::set<Connection*> connections_;

  std::size_t accepted_ = 0;
  bool speaks_h2_ = true;
  bool begin_frozen_ = false;
  std::uint32_t most_streams_ = 250;  // as API servers have it
  std::uint64_t version_ = 100;
  std::uint64_t oldest_ = 0;  // watches from before it are told 410
  std::uint64_t token_epoch_ = 0;
  std::uint64_t endings_ = 0;  // times watches were ended
  bool end_cleanly_ = true;
  bool holding_ = false;
  bool holding_answers_ = false;
  std::size_t page_limit_ = 1000;
  std::set<std::string> slice_versions_{"v1"};
  std::map<std::string, std::map<std::string, std::string>> objects_;  // path, name
  std::deque<Event> events_;
  std::map<std::string, std::deque<Canned>> canned_;
  std::map<std::string, std::string> kept_;  // single objects by path
  std::vector<Asked> asked_;
  std::map<std::string, std::size_t> watches_;
};

}  // namespace heddle::test
