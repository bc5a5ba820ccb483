// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <set>

#include "base/io/netns.h"
#include "tools/capture/capture.h"
#include "tools/demonstration/steps.h"
#include "tools/http/client.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/traffic.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// A word that occurs nowhere else, so that finding it on the wire means somebody could read the data.
const std::string secret = "heddle-demo-secret-7c1f";

// An HTTP request, a SQL statement and a Redis command from node-1 to node-2, each carrying the secret.
Result<> speak(const Stage& stage) {
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"curl", "-sS", "-o", "/dev/null", "--fail", "--max-time", "15", "http://far.demo/" + secret},
           {"mariadb", "-h", "mariadb.demo", "--skip-ssl", "--connect-timeout=15", "-e",
            "select '" + secret + "'"},
           {"redis-cli", "-h", "redis.demo", "set", "word", secret}}) {
    auto said = stage.in_pod("client", command);
    if (!said) return make_error(Errc::unavailable, command[0] + " in pod client: " + said.error().message());
  }
  return {};
}

Result<std::unique_ptr<WireCapture>> capture_node(const Stage& stage, const std::string& text) {
  auto netns = open_netns(stage.layout().netns("node-node-1"));
  if (!netns) return netns.error();
  return WireCapture::start(netns->get(), "eth0", text);
}

bool is_pod(const SocketAddress& address) {
  static const auto v4 = *Cidr::parse("10.244.0.0/16");
  static const auto v6 = *Cidr::parse("fd00:10:244::/48");
  return v4.contains(address.ip) || v6.contains(address.ip);
}

struct Identities {
  std::set<std::string> clients, servers;
};

// What the proxies say about the mesh connections they opened and accepted.
Identities identities_of(const Stage& stage) {
  Identities out;
  for (const auto& node : stage.nodes()) {
    const auto samples = node.proxy_metrics();
    if (!samples) continue;
    for (const auto& sample : *samples) {
      if (sample.value <= 0) continue;
      if (!sample.label("client_id").empty()) out.clients.insert(sample.label("client_id"));
      if (!sample.label("server_id").empty()) out.servers.insert(sample.label("server_id"));
    }
  }
  return out;
}

json::array to_array(const std::set<std::string>& words) {
  json::array out;
  for (const auto& word : words) out.push_back(json::value(word));
  return out;
}

// The first two labels of an identity, "client.demo".
std::string short_name(const std::string& identity) {
  const auto dot = identity.find('.');
  return identity.substr(0, identity.find('.', dot + 1));
}

}  // namespace

Result<Finding> wire_in_clear(Stage& stage, Baseline&) {
  auto capture = capture_node(stage, secret);
  if (!capture) return capture.error();
  if (auto said = speak(stage); !said) return said.error();
  const auto& wire = (*capture)->stop();
  Finding out;
  out.ok = wire.count(secret) >= 3 && wire.clear_bytes() > 0;
  out.measured = {{"readable_bytes", wire.clear_bytes()},
                  {"tls_bytes", wire.tls_bytes()},
                  {"secret_seen", wire.count(secret)}};
  out.text = scaled(static_cast<double>(wire.clear_bytes())) +
             " bytes readable between the nodes, the secret seen " + std::to_string(wire.count(secret)) +
             " times";
  return out;
}

Result<Finding> wire_encrypted(Stage& stage, Baseline&) {
  auto capture = capture_node(stage, secret);
  if (!capture) return capture.error();
  if (auto said = speak(stage); !said) return said.error();
  const auto& wire = (*capture)->stop();
  std::uint64_t connections = 0;
  std::uint64_t tls13 = 0;
  std::set<std::string> names;
  std::string readable;
  for (const auto& flow : wire.flows()) {
    if (!flow.tls && readable.empty()) readable = flow.client.to_string() + " -> " + flow.server.to_string();
    if (!is_pod(flow.client) || !is_pod(flow.server)) continue;
    ++connections;
    tls13 += flow.tls13 ? 1 : 0;
    if (!flow.sni.empty()) names.insert(flow.sni);
  }
  const auto identities = identities_of(stage);
  Finding out;
  out.ok = wire.clear_bytes() == 0 && wire.count(secret) == 0 && connections > 0 && tls13 == connections &&
           !identities.clients.empty() && !identities.servers.empty();
  out.measured = {{"readable_bytes", wire.clear_bytes()},
                  {"tls_bytes", wire.tls_bytes()},
                  {"secret_seen", wire.count(secret)},
                  {"connections", connections},
                  {"tls13_connections", tls13},
                  {"server_names", to_array(names)},
                  {"client_identities", to_array(identities.clients)},
                  {"server_identities", to_array(identities.servers)},
                  {"frames_dropped", (*capture)->dropped()}};
  out.text = std::to_string(wire.clear_bytes()) + " bytes readable of " +
             scaled(static_cast<double>(wire.clear_bytes() + wire.tls_bytes())) + ", " +
             std::to_string(tls13) + " of " + std::to_string(connections) + " connections TLS 1.3";
  if (!identities.clients.empty() && !identities.servers.empty()) {
    out.text +=
        ", " + short_name(*identities.clients.begin()) + " -> " + short_name(*identities.servers.begin());
  } else {
    out.text += ", but the proxies name no identities";
  }
  if (!readable.empty()) out.text += "; readable: " + readable;
  return out;
}

namespace {

// Everything the proxies say about finished requests and connections while it exists.
class Taps {
 public:
  explicit Taps(const Stage& stage) {
    if (::pipe2(stop_, O_CLOEXEC) != 0) return;
    for (const auto& node : stage.nodes()) {
      threads_.emplace_back([this, link = node.link] {
        (void)link->stream(AdminOf::proxy, "/tap", stop_[0], [this](std::string_view line) {
          boost::system::error_code malformed;
          auto value = json::parse(line, malformed);
          const std::lock_guard lock(mutex_);
          if (!malformed && value.is_object()) records_.push_back(std::move(value.get_object()));
          return true;
        });
      });
    }
  }
  ~Taps() { finish(); }
  std::vector<json::object> snapshot() {
    const std::lock_guard lock(mutex_);
    return records_;
  }
  void finish() {
    if (stop_[1] >= 0) ::close(std::exchange(stop_[1], -1));
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    if (stop_[0] >= 0) ::close(std::exchange(stop_[0], -1));
  }

 private:
  int stop_[2] = {-1, -1};
  std::mutex mutex_;
  std::vector<json::object> records_;
  std::vector<std::thread> threads_;
};

// Service -> protocol, of what pod `client` opened.
std::map<std::string, std::string> protocols_in(const std::vector<json::object>& records) {
  std::map<std::string, std::string> out;
  for (const auto& record : records) {
    if (text_at(record, {"direction"}) != "outbound") continue;
    const auto authority = text_at(record, {"authority"});
    const auto name =
        authority.empty() ? text_at(record, {"original_dst"}) : authority.substr(0, authority.find('.'));
    if (const auto protocol = text_at(record, {"protocol"}); !protocol.empty()) out[name] = protocol;
  }
  return out;
}

}  // namespace

Result<Finding> protocols_detected(Stage& stage, Baseline&) {
  Taps taps(stage);
  const auto begin = std::chrono::steady_clock::now();
  std::map<std::string, std::string> seen;
  const std::map<std::string, std::set<std::string>> expected{
      {"far", {"http/1"}}, {"greeter", {"grpc", "http/2"}}, {"mariadb", {"opaque"}}, {"redis", {"opaque"}}};
  const auto complete = [&] {
    seen = protocols_in(taps.snapshot());
    return std::all_of(expected.begin(), expected.end(), [&](const auto& wanted) {
      const auto found = seen.find(wanted.first);
      return found != seen.end() && wanted.second.contains(found->second);
    });
  };
  // Repeated because a tap is only sure to listen once its first record arrived.
  do {
    if (auto said = speak(stage); !said) return said.error();
    auto called =
        stage.in_pod("client", {"/usr/bin/python3", "/mnt/programs/client.py", "greeter.demo:50051", "20"});
    if (!called) return called.error();
    if (called->find("20") == std::string::npos) {
      return make_error(Errc::unavailable, "gRPC calls answered rightly: " + *called + " of 20");
    }
  } while (!complete() && std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  taps.finish();
  Finding out;
  out.ok = complete();
  json::object measured;
  for (const auto& [service, protocol] : seen) {
    measured[service] = protocol;
    out.text += (out.text.empty() ? "" : ", ") + service + " " + protocol;
  }
  if (seen.empty()) out.text = "the proxies' taps said nothing";
  out.measured = {{"protocols", std::move(measured)}};
  return out;
}

}  // namespace heddle::tools
