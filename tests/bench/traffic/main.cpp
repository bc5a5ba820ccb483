// SPDX-License-Identifier: Apache-2.0
// The ends of tools/bench --traffic: the servers behind the proxies, and the clients that Debian has none of.
// One thread each.
//
//   heddle-traffic serve --http1 IP:PORT --http2 IP:PORT --bytes IP:PORT
//   heddle-traffic http1|http1-connections|ping|connections|bulk IP:PORT [OPTIONS]    one line of JSON
//   heddle-traffic idle-http1|idle-bytes IP:PORT --connections N                      holds them until its
//   input ends
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <map>
#include <string>

#include "base/fd.h"
#include "tests/bench/traffic/load.h"
#include "tests/bench/traffic/servers.h"

namespace {

using namespace heddle;
using namespace heddle::bench;

SocketAddress parse(const std::string& text) {
  const auto address = SocketAddress::parse(text);
  if (!address) {
    std::cerr << "heddle-traffic: " << address.error().message() << '\n';
    std::exit(2);
  }
  return *address;
}

struct Options {
  std::string http1;
  std::string http2;
  std::string bytes;
  std::string to;
  Load load;
};

void add_serve(CLI::App& app, Options& options) {
  auto* serve = app.add_subcommand("serve", "The servers");
  serve->add_option("--http1", options.http1)->required();
  serve->add_option("--http2", options.http2)->required();
  serve->add_option("--bytes", options.bytes)->required();
  serve->callback([&options] {
    Poller poller;
    serve_http1(poller, parse(options.http1));
    serve_http2(poller, parse(options.http2));
    serve_bytes(poller, parse(options.bytes));
    poller.run();
  });
}

void add_load(CLI::App& app, Options& options, const char* name, std::function<void()> run) {
  auto* command = app.add_subcommand(name);
  command->add_option("to", options.to)->required();
  command->add_option("--connections", options.load.connections)->check(CLI::Range(1, 60000));
  command->add_option("--seconds", options.load.seconds)->check(CLI::PositiveNumber);
  command->add_option("--warm-up", options.load.warm_up_seconds)->check(CLI::NonNegativeNumber);
  command->add_option("--rate", options.load.rate)->check(CLI::NonNegativeNumber);
  command->add_option("--message", options.load.message)->check(CLI::Range(1, 16384));
  command->add_option("--bytes", options.load.bytes);
  command->callback([&options, run = std::move(run)] {
    options.load.to = parse(options.to);
    run();
  });
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(raise_fd_limit());
  CLI::App app("Load and servers of heddle's benchmark");
  app.require_subcommand(1);
  Options options;
  add_serve(app, options);
  const std::map<const char*, Figures (*)(const Load&)> loads{{"http1", load_http1},
                                                              {"http1-connections", load_http1_connections},
                                                              {"ping", load_ping},
                                                              {"connections", load_connections},
                                                              {"bulk", load_bulk}};
  for (const auto& [name, load] : loads)
    add_load(app, options, name, [&options, make = load] { make(options.load).print(); });
  add_load(app, options, "idle-http1", [&options] { hold_idle(options.load, true); });
  add_load(app, options, "idle-bytes", [&options] { hold_idle(options.load, false); });
  CLI11_PARSE(app, argc, argv);
  return 0;
}
