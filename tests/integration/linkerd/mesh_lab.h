// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/telemetry/recorder.h"
#include "proxy/tls/endpoint.h"
#include "tests/integration/linkerd/peer.h"
#include "tests/support/authority/authority.h"
#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy::test {

using heddle::test::Authority;
using heddle::test::Peer;
using heddle::test::PeerListener;
using heddle::test::PeerTls;

inline const std::string stranger = "curl.linkerd-shop.serviceaccount.identity.linkerd.cluster.local";

// One worker of the proxy with everything real but the agent: both pipelines, TLS with certificates of the
// test's authority, the pools, telemetry with an access log. It runs on a thread of its own; the test's
// thread is its peers.
class MeshLab {
 public:
  explicit MeshLab(Settings settings = {});
  ~MeshLab();

  // A pod of this node with a certificate.
  PodRef add_pod(std::uint32_t id, const char* ip, const std::function<void(Pod&)>& change = {});
  void remove_pod(const PodRef& pod);
  // Another description of the pod, as it comes from the agent.
  PodRef change_pod(const PodRef& pod, const std::function<void(Pod&)>& change);
  // What connects to the returned address arrives at `pod` as dialled at `port`.
  SocketAddress listen_inbound(PodRef pod, std::uint16_t port);
  // What connects to the returned address is a connection of `pod` to `original_dst`.
  SocketAddress listen_outbound(PodRef pod, SocketAddress original_dst);

  // What discovery says of an address: a service with these endpoints.
  void discover(SocketAddress original_dst, std::vector<EndpointInfo> endpoints, bool opaque = false);

  // A certificate of the authority for a peer with this name.
  Authority::Pair certificate(const std::string& name);
  // A client as linkerd2-proxy is one: TLS 1.3, its certificate, SNI of the pod.
  PeerTls linkerd_client(const PodRef& to, std::vector<std::string> alpn = {});
  // A server as linkerd2-proxy is one, with this identity.
  PeerTls linkerd_server(const std::string& identity, std::vector<std::string> alpn = {});

  // Runs on the worker's thread and waits.
  void run(const std::function<void()>& task);
  // Looks on the worker's thread until it holds.
  bool eventually(const std::function<bool()>& condition);
  // The metrics' line that begins with `name` and contains all of `labels`, its value; -1 without one.
  double metric(const std::string& name, const std::vector<std::string>& labels);
  // Waits for a line of the access log that contains all of `parts`; empty when none came.
  std::string logged(const std::vector<std::string>& parts,
                     std::chrono::milliseconds limit = std::chrono::seconds(10));

  Worker& worker() { return rig_.worker; }
  Rig& rig() { return rig_; }
  Authority authority;

 private:
  class Entrance;
  SocketAddress listen(std::function<void(SocketAddress client, std::unique_ptr<Stream>)> serve);
  void read_log();

  Rig rig_;
  tls::TrustAnchors anchors_;
  std::shared_ptr<tls::WorkerTls> tls_;
  Fd log_reader_, log_writer_;
  std::string log_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<std::unique_ptr<Entrance>> entrances_;
  std::thread thread_;
};

}  // namespace heddle::proxy::test
