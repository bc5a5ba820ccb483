// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/ip.h"

// The parts of Kubernetes' objects that heddle reads, as plain immutable values. Fields are named after the
// API's (kubernetes.io/docs/reference/kubernetes-api); what is absent in an object is empty or has the API's
// default.
namespace heddle::source {

using Labels = std::map<std::string, std::string, std::less<>>;

struct OwnerReference {
  std::string kind;
  std::string name;
  bool controller = false;
};

struct Meta {
  std::string ns;  // empty for kinds without a namespace; "default" where an object that has one names none
  std::string name;
  std::string uid;
  Labels labels;
  Labels annotations;
  std::vector<OwnerReference> owners;
  bool deleting = false;  // deletionTimestamp is set
};

enum class Protocol : std::uint8_t { tcp, udp, sctp };

struct ContainerPort {
  std::string name;  // may be empty
  std::uint16_t port = 0;
  Protocol protocol = Protocol::tcp;
};

struct Pod {
  Meta meta;
  std::string node_name;  // empty: not scheduled
  std::string service_account = "default";
  bool host_network = false;
  std::vector<ContainerPort> ports;  // of containers and restartable init containers
  std::string phase;                 // Pending, Running, Succeeded, Failed, Unknown, or empty
  std::vector<IpAddress> ips;        // status.podIPs, podIP first
  bool ready = false;                // condition Ready is True

  // Its containers have ended for good: it has no traffic and needs no identity.
  bool finished() const { return phase == "Succeeded" || phase == "Failed"; }
};

struct Namespace {
  Meta meta;
};

struct ServiceAccount {
  Meta meta;
};

struct Node {
  Meta meta;  // label topology.kubernetes.io/zone
  std::vector<IpAddress> internal_ips;
};

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::variant<std::uint16_t, std::string> target_port;  // number, or name of a container's port
  std::string app_protocol;                              // empty: not said
};

struct Service {
  Meta meta;
  std::string type = "ClusterIP";
  bool headless = false;  // clusterIP: None
  std::vector<IpAddress> cluster_ips;
  std::string external_name;
  std::vector<ServicePort> ports;
  Labels selector;
  bool local_traffic_only = false;  // internalTrafficPolicy: Local

  // The TCP port with this number, or nullptr.
  const ServicePort* port(std::uint16_t number) const;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::string app_protocol;
};

struct Endpoint {
  std::vector<IpAddress> addresses;
  bool ready =
      true;  // conditions.ready; unset counts as ready (API: "unknown ... should be interpreted as ready")
  bool serving = true;
  bool terminating = false;
  std::string hostname;
  std::string node_name;
  std::string zone;
  std::string pod;  // targetRef of kind Pod: its name; the namespace is the slice's
  std::vector<std::string> hint_zones;
};

// Also what an Endpoints object becomes: one slice per subset.
struct EndpointSlice {
  Meta meta;
  std::string service;  // label kubernetes.io/service-name; may be empty
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;
};

}  // namespace heddle::source
