// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
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

  bool operator==(const OwnerReference&) const = default;
};

struct Meta {
  std::string ns;  // empty for kinds without a namespace; "default" where an object that has one names none
  std::string name;
  std::string uid;
  Labels labels;
  Labels annotations;
  std::vector<OwnerReference> owners;
  bool deleting = false;  // deletionTimestamp is set

  bool operator==(const Meta&) const = default;
};

enum class Protocol : std::uint8_t { tcp, udp, sctp };

struct ContainerPort {
  std::string name;  // may be empty
  std::uint16_t port = 0;
  Protocol protocol = Protocol::tcp;

  bool operator==(const ContainerPort&) const = default;
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

  bool operator==(const Pod&) const = default;
};

struct Namespace {
  Meta meta;

  bool operator==(const Namespace&) const = default;
};

struct ServiceAccount {
  Meta meta;

  bool operator==(const ServiceAccount&) const = default;
};

// On nodes until their agent is ready: pods that do not tolerate it wait.
inline constexpr std::string_view startup_taint = "heddle.io/agent-not-ready";

struct Node {
  Meta meta;  // label topology.kubernetes.io/zone
  std::vector<IpAddress> internal_ips;
  bool startup_tainted = false;  // has the taint heddle.io/agent-not-ready

  bool operator==(const Node&) const = default;
};

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::variant<std::uint16_t, std::string> target_port;  // number, or name of a container's port
  std::string app_protocol;                              // empty: not said

  bool operator==(const ServicePort&) const = default;
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

  bool operator==(const Service&) const = default;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::string app_protocol;

  bool operator==(const EndpointPort&) const = default;
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

  bool operator==(const Endpoint&) const = default;
};

// Also what an Endpoints object becomes: one slice per subset.
struct EndpointSlice {
  Meta meta;
  std::string service;  // label kubernetes.io/service-name; may be empty
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;

  bool operator==(const EndpointSlice&) const = default;
};

}  // namespace heddle::source
