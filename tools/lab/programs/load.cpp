// SPDX-License-Identifier: Apache-2.0
// heddle-lab-load: an HTTP/1.1 client for labs that counts exactly. Every request ends in one of two ways,
// "ok" (a complete response below 500) or "failed" (with its reason); a request sent on a kept connection
// that the server had closed meanwhile is sent once more on a new one, as RFC 9112 (9.3.1) lets clients do,
// and counted as "resent".
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>

#include "tools/lab/programs/exchange.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

std::atomic<bool> stopping{false};

struct Settings {
  std::string url;
  unsigned connections = 1;
  std::uint64_t requests = 0;  // 0: until the time is over
  double seconds = 0;          // 0: until the requests are done
  double rate = 0;             // per second in all; 0: as fast as it goes
  bool per_request = false;
  double timeout_s = 15;
  std::string mode = "http";  // http, greeting (wait for the server's first byte), connect
};

struct Target {
  sockaddr_storage address{};
  socklen_t length = 0;
  std::string host, path;
};

struct Tally {
  std::uint64_t requests = 0, ok = 0, failed = 0, resent = 0, connections = 0, bytes = 0;
  std::map<std::string, std::uint64_t> errors, backends, statuses;
  std::vector<float> latency_ms, connect_ms;

  void merge(Tally&& other) {
    requests += other.requests;
    ok += other.ok;
    failed += other.failed;
    resent += other.resent;
    connections += other.connections;
    bytes += other.bytes;
    for (const auto& [name, count] : other.errors) errors[name] += count;
    for (const auto& [name, count] : other.backends) backends[name] += count;
    for (const auto& [name, count] : other.statuses) statuses[name] += count;
    latency_ms.insert(latency_ms.end(), other.latency_ms.begin(), other.latency_ms.end());
    connect_ms.insert(connect_ms.end(), other.connect_ms.begin(), other.connect_ms.end());
  }
};

Result<Target> resolve(const std::string& url) {
  std::string_view rest = url;
  const auto scheme = rest.find("://");
  if (scheme != std::string_view::npos) rest.remove_prefix(scheme + 3);
  const auto slash = rest.find('/');
  Target out;
  out.host = std::string(rest.substr(0, slash));
  out.path = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  auto name = out.host;
  std::string port = "80";
  const auto colon = name.rfind(':');
  if (colon != std::string::npos && name.find(']', colon) == std::string::npos) {
    port = name.substr(colon + 1);
    name.resize(colon);
  }
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(name.c_str(), port.c_str(), &hints, &found); failed != 0) {
    return make_error(Errc::not_found, name + ": " + ::gai_strerror(failed));
  }
  std::memcpy(&out.address, found->ai_addr, found->ai_addrlen);
  out.length = found->ai_addrlen;
  ::freeaddrinfo(found);
  return out;
}

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

class Worker {
 public:
  Worker(const Settings& settings, const Target& target) : settings_(settings), target_(target) {}

  void one() {
    ++tally.requests;
    const auto begin = Clock::now();
    std::string error = settings_.mode == "http" ? http() : bare();
    if (error.empty()) {
      ++tally.ok;
      tally.latency_ms.push_back(static_cast<float>(ms_since(begin)));
    } else {
      ++tally.failed;
      ++tally.errors[error];
    }
  }

  Tally tally;

 private:
  std::string open() {
    const auto begin = Clock::now();
    auto fd = connect_to(target_.address, target_.length, settings_.timeout_s);
    if (!fd) return fd.error().message();
    connection_ = std::make_unique<HttpConnection>(std::move(*fd));
    ++tally.connections;
    tally.connect_ms.push_back(static_cast<float>(ms_since(begin)));
    return {};
  }

  std::string http() {
    for (int attempt = 0;; ++attempt) {
      const bool kept = connection_ != nullptr;
      if (!kept) {
        if (auto error = open(); !error.empty()) return error;
      }
      auto response = connection_->get(target_.host, target_.path, settings_.per_request);
      if (!response) {
        const bool stale = connection_->nothing_received();
        connection_.reset();
        if (kept && stale && attempt == 0) {
          ++tally.resent;
          continue;
        }
        return response.error().message();
      }
      ++tally.statuses[std::to_string(response->status)];
      ++tally.backends[response->backend];
      tally.bytes += response->body_bytes;
      if (response->close || settings_.per_request) connection_.reset();
      return response->status < 500 ? std::string() : "status " + std::to_string(response->status);
    }
  }

  std::string bare() {
    if (auto error = open(); !error.empty()) return error;
    auto connection = std::move(connection_);
    return settings_.mode == "connect" ? std::string() : connection->wait_for_byte();
  }

  const Settings& settings_;
  const Target& target_;
  std::unique_ptr<HttpConnection> connection_;
};

json::object quantiles(std::vector<float> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double q) {
    return std::round(values[std::min(values.size() - 1,
                                      static_cast<std::size_t>(q * static_cast<double>(values.size())))] *
                      1000.0) /
           1000.0;
  };
  double sum = 0;
  for (const float value : values) sum += value;
  return {{"p50", at(0.5)},
          {"p90", at(0.9)},
          {"p99", at(0.99)},
          {"max", at(1)},
          {"mean", std::round(sum / static_cast<double>(values.size()) * 1000) / 1000}};
}

json::object counts(const std::map<std::string, std::uint64_t>& map) {
  json::object out;
  for (const auto& [name, count] : map) out[name] = count;
  return out;
}

Tally run_all(const Settings& settings, const Target& target) {
  std::atomic<std::uint64_t> started{0};
  const auto begin = Clock::now();
  std::mutex mutex;
  Tally all;
  const auto work = [&] {
    Worker worker(settings, target);
    while (!stopping) {
      const auto turn = started.fetch_add(1);
      if (settings.requests != 0 && turn >= settings.requests) break;
      if (settings.rate > 0) {
        const auto due = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                     static_cast<double>(turn) / settings.rate));
        std::this_thread::sleep_until(due);
      }
      if (stopping || (settings.seconds > 0 && ms_since(begin) > settings.seconds * 1000)) break;
      worker.one();
    }
    const std::lock_guard lock(mutex);
    all.merge(std::move(worker.tally));
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < settings.connections; ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
  return all;
}

int run_load(const Settings& settings) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto stop = [](int) { stopping = true; };
  ::signal(SIGTERM, stop);
  ::signal(SIGINT, stop);
  auto target = resolve(settings.url);
  if (!target) {
    std::cerr << "heddle-lab-load: " << target.error().message() << "\n";
    return 1;
  }
  const auto begin = Clock::now();
  auto all = run_all(settings, *target);
  const double seconds = ms_since(begin) / 1000;
  const json::object report{{"requests", all.requests},
                            {"ok", all.ok},
                            {"failed", all.failed},
                            {"resent", all.resent},
                            {"connections", all.connections},
                            {"bytes", all.bytes},
                            {"seconds", seconds},
                            {"rps", static_cast<double>(all.ok) / std::max(seconds, 1e-9)},
                            {"latencyMs", quantiles(std::move(all.latency_ms))},
                            {"connectMs", quantiles(std::move(all.connect_ms))},
                            {"errors", counts(all.errors)},
                            {"statuses", counts(all.statuses)},
                            {"backends", counts(all.backends)}};
  std::cout << json::serialize(report) << std::endl;
  return all.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace heddle::tools

int main(int argc, char** argv) {
  using namespace heddle::tools;
  CLI::App app("An HTTP/1.1 load generator that counts failures exactly; prints one JSON document",
               "heddle-lab-load");
  Settings settings;
  app.add_option("URL", settings.url, "http://HOST[:PORT]/PATH, or HOST:PORT")->required();
  app.add_option("-c,--connections", settings.connections, "At the same time")->capture_default_str();
  app.add_option("-n,--requests", settings.requests, "Stop after so many (0: --seconds decides)")
      ->capture_default_str();
  app.add_option("-t,--seconds", settings.seconds, "Stop after so long (0: -n decides, or SIGTERM)")
      ->capture_default_str();
  app.add_option("--rate", settings.rate, "Requests per second in all (0: as fast as it goes)")
      ->capture_default_str();
  app.add_flag("--per-request", settings.per_request, "A new connection for every request");
  app.add_option("--timeout", settings.timeout_s, "Seconds for a connect, and for each read")
      ->capture_default_str();
  app.add_option("--mode", settings.mode, "http; greeting: wait for the server's first byte; connect")
      ->check(CLI::IsMember({"http", "greeting", "connect"}))
      ->capture_default_str();
  app.set_version_flag("--version", "heddle-lab-load " HEDDLE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run_load(settings);
}
