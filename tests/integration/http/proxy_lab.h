// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/worker.h"

namespace heddle::proxy {

// Workers on a thread of their own with plain sockets instead of brokered ones and a TLS that only pretends:
// what the HTTP services need around them, on loopback.
class ProxyLab {
 public:
  ProxyLab();
  ~ProxyLab();

  // A server on loopback, accepted connections given to `serve` on the lab's thread. Returns its address.
  using Serve = std::function<void(Worker&, SocketAddress client, std::unique_ptr<Stream>)>;
  SocketAddress listen(Worker& worker, Serve serve);

  // Outbound of the client's side, towards `destination`.
  SocketAddress listen_outbound(DestinationRef destination, Protocol protocol);
  // Inbound of the server's side: heddle/1 without the TLS. `app` is where its requests and tunnels go.
  SocketAddress listen_mesh(SocketAddress app, TlsState tls = TlsState::mutual);
  SocketAddress listen_inbound(SocketAddress app, Protocol protocol);

  // An app that answers each request by switching to bytes, which it sends back.
  SocketAddress listen_switching_app();
  // From now on every address is one of the server's pod on the client's own node.
  void join_locally();

  DestinationRef plain(SocketAddress to);
  DestinationRef meshed(std::vector<SocketAddress> to);

  // Runs on the lab's thread and waits.
  void run(const std::function<void()>& task);

  Worker& client() { return *client_; }
  Worker& server() { return *server_; }
  // What the pretended handshake selects.
  std::string alpn = tls::alpn_heddle;
  // Where the server's side really dials when it dials the mesh's address: no kernel steers here.
  std::map<SocketAddress, SocketAddress> redirects;
  PodRef client_pod, server_pod;
  Settings settings;

 private:
  friend class PretendTls;
  class Acceptor;
  std::unique_ptr<Worker> client_;
  std::unique_ptr<Worker> server_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::thread thread_;
  std::thread other_thread_;
};

// A free port's listener is closed before its number is used, so another program may take it: retry on
// failure.
std::uint16_t free_port();

struct Ran {
  int status = -1;
  std::string out;
};
// Runs a command with its output caught.
Ran run_command(const std::string& command);

// nginx with `server_body` in its only server block, in a temporary folder of this process.
class Nginx {
 public:
  explicit Nginx(const std::string& server_body, const std::string& listen_extra = "");
  ~Nginx();
  SocketAddress address() const { return address_; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  SocketAddress address_;
  pid_t pid_ = -1;
};

}  // namespace heddle::proxy
