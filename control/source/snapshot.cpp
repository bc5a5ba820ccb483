// SPDX-License-Identifier: Apache-2.0
#include "control/source/snapshot.h"

#include <algorithm>

namespace heddle::source {
namespace {

std::string key_of(const Meta& meta) {
  return meta.ns.empty() ? meta.name : meta.ns + "/" + meta.name;
}

std::string key_of(std::string_view ns, std::string_view name) {
  std::string key(ns);
  key += '/';
  key += name;
  return key;
}

template <class Map, class Key>
auto value_or_null(const Map& map, const Key& key) -> typename Map::mapped_type {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

// Files may repeat an object (a copy left behind): the later one wins, as with `kubectl apply`.
template <class T, class Map>
void index(Objects::List<T>& list, Map& by_key) {
  by_key.reserve(list.size());
  for (const auto& object : list) by_key[key_of(object->meta)] = object.get();
  if (by_key.size() == list.size()) return;
  std::erase_if(list, [&](const auto& object) { return by_key[key_of(object->meta)] != object.get(); });
}

template <class T>
void append_list(Objects::List<T>& to, const Objects::List<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

std::size_t Objects::size() const {
  return namespaces.size() + nodes.size() + pods.size() + service_accounts.size() + services.size() +
         slices.size();
}

void Objects::append(const Objects& other) {
  append_list(namespaces, other.namespaces);
  append_list(nodes, other.nodes);
  append_list(pods, other.pods);
  append_list(service_accounts, other.service_accounts);
  append_list(services, other.services);
  append_list(slices, other.slices);
}

const ServicePort* Service::port(std::uint16_t number) const {
  const auto found = std::ranges::find_if(
      ports, [number](const ServicePort& p) { return p.port == number && p.protocol == Protocol::tcp; });
  return found == ports.end() ? nullptr : &*found;
}

Snapshot::Snapshot(Objects objects, std::uint64_t version) : objects_(std::move(objects)), version_(version) {
  index(objects_.namespaces, namespaces_);
  index(objects_.nodes, nodes_);
  index(objects_.service_accounts, service_accounts_);
  index(objects_.pods, pods_);
  index(objects_.services, services_);
  index_pods();
  index_services();
}

void Snapshot::index_pods() {
  for (const auto& pod : objects_.pods) {
    if (!pod->node_name.empty()) pods_by_node_[pod->node_name].push_back(pod.get());
    if (pod->host_network || pod->finished()) continue;
    for (const IpAddress& ip : pod->ips) {
      const Pod*& holder = pods_by_ip_[ip];
      // An address may be handed on while the old pod's object still goes away.
      if (holder == nullptr || holder->meta.deleting) holder = pod.get();
    }
  }
}

void Snapshot::index_services() {
  for (const auto& service : objects_.services) {
    for (const IpAddress& ip : service->cluster_ips) services_by_ip_[ip] = service.get();
  }
  ByKey<const EndpointSlice*> latest;
  index(objects_.slices, latest);
  for (const auto& slice : objects_.slices) {
    if (!slice->service.empty()) slices_[key_of(slice->meta.ns, slice->service)].push_back(slice.get());
  }
  for (auto& [key, list] : slices_) {
    // A dump of a cluster holds a service's Endpoints beside its slices; they say the same, the slices more.
    const auto from_endpoints = [](const EndpointSlice* slice) {
      return slice->meta.name.find('/') != std::string::npos;
    };
    if (!std::ranges::all_of(list, from_endpoints)) std::erase_if(list, from_endpoints);
    std::ranges::sort(list, {},
                      [](const EndpointSlice* slice) -> const std::string& { return slice->meta.name; });
  }
}

const Namespace* Snapshot::find_namespace(std::string_view name) const {
  return value_or_null(namespaces_, name);
}

const Node* Snapshot::find_node(std::string_view name) const {
  return value_or_null(nodes_, name);
}

const Pod* Snapshot::find_pod(std::string_view ns, std::string_view name) const {
  return value_or_null(pods_, key_of(ns, name));
}

const ServiceAccount* Snapshot::find_service_account(std::string_view ns, std::string_view name) const {
  return value_or_null(service_accounts_, key_of(ns, name));
}

const Service* Snapshot::find_service(std::string_view ns, std::string_view name) const {
  return value_or_null(services_, key_of(ns, name));
}

const Pod* Snapshot::pod_with_ip(const IpAddress& ip) const {
  return value_or_null(pods_by_ip_, ip);
}

const Service* Snapshot::service_with_ip(const IpAddress& cluster_ip) const {
  return value_or_null(services_by_ip_, cluster_ip);
}

std::span<const EndpointSlice* const> Snapshot::slices_of(std::string_view ns,
                                                          std::string_view service) const {
  const auto found = slices_.find(key_of(ns, service));
  if (found == slices_.end()) return {};
  return found->second;
}

std::span<const Pod* const> Snapshot::pods_on(std::string_view node) const {
  const auto found = pods_by_node_.find(node);
  if (found == pods_by_node_.end()) return {};
  return found->second;
}

}  // namespace heddle::source
