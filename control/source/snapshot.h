// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/source/objects.h"

namespace heddle::source {

// Every object of one moment. Objects are shared between snapshots, so an unchanged object keeps its address:
// two snapshots can be compared by pointers. Where two objects have the same kind, namespace and name, the
// later wins.
struct Objects {
  template <class T>
  using List = std::vector<std::shared_ptr<const T>>;

  List<Namespace> namespaces;
  List<Node> nodes;
  List<Pod> pods;
  List<ServiceAccount> service_accounts;
  List<Service> services;
  List<EndpointSlice> slices;

  std::size_t size() const;
  void append(const Objects& other);
};

// Objects with indexes over them. Immutable, hence safe on any thread; what it returns lives as long as it
// does.
class Snapshot {
 public:
  // `version` rises with every snapshot of one source.
  Snapshot(Objects objects, std::uint64_t version);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  std::uint64_t version() const { return version_; }
  const Objects& objects() const { return objects_; }

  const Namespace* find_namespace(std::string_view name) const;
  const Node* find_node(std::string_view name) const;
  const Pod* find_pod(std::string_view ns, std::string_view name) const;
  const ServiceAccount* find_service_account(std::string_view ns, std::string_view name) const;
  const Service* find_service(std::string_view ns, std::string_view name) const;

  // The pod that has this address for itself: neither finished nor on the host's network.
  const Pod* pod_with_ip(const IpAddress& ip) const;
  const Service* service_with_ip(const IpAddress& cluster_ip) const;
  // Slices of a service, in a stable order.
  std::span<const EndpointSlice* const> slices_of(std::string_view ns, std::string_view service) const;
  // Pods scheduled on a node, finished ones too.
  std::span<const Pod* const> pods_on(std::string_view node) const;

 private:
  struct KeyHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  // Keys are "namespace/name", or "name" for kinds without a namespace.
  template <class V>
  using ByKey = std::unordered_map<std::string, V, KeyHash, std::equal_to<>>;

  void index_pods();
  void index_services();

  Objects objects_;
  std::uint64_t version_;
  ByKey<const Namespace*> namespaces_;
  ByKey<const Node*> nodes_;
  ByKey<const Pod*> pods_;
  ByKey<const ServiceAccount*> service_accounts_;
  ByKey<const Service*> services_;
  std::unordered_map<IpAddress, const Pod*> pods_by_ip_;
  std::unordered_map<IpAddress, const Service*> services_by_ip_;
  ByKey<std::vector<const EndpointSlice*>> slices_;
  ByKey<std::vector<const Pod*>> pods_by_node_;
};

}  // namespace heddle::source
