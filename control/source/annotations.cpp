// SPDX-License-Identifier: Apache-2.0
#include "control/source/annotations.h"

#include <algorithm>

namespace heddle::source {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

// Whether a list such as "25, 8000-9000, mysql" names the port. An entry that is neither is skipped: one typo
// must not turn the rest of the list off.
template <class Named>
bool list_names(std::string_view list, std::uint16_t port, Named is_named) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const std::string_view entry = trimmed(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    if (entry.empty()) continue;
    if (const auto range = PortRange::parse(entry); range) {
      if (range->contains(port)) return true;
    } else if (is_named(entry)) {
      return true;
    }
  }
  return false;
}

bool nothing_named(std::string_view) {
  return false;
}

}  // namespace

const std::string* annotation(const Meta& object, const Namespace* ns, std::string_view key) {
  if (const auto found = object.annotations.find(key); found != object.annotations.end())
    return &found->second;
  if (ns == nullptr) return nullptr;
  const auto found = ns->meta.annotations.find(key);
  return found == ns->meta.annotations.end() ? nullptr : &found->second;
}

bool is_meshed(const Pod& pod, const Namespace* ns) {
  if (pod.host_network) return false;
  const std::string* inject = annotation(pod.meta, ns, inject_annotation);
  return inject != nullptr && (*inject == "enabled" || *inject == "ingress");
}

bool skips_inbound(const Pod& pod, const Namespace* ns, std::uint16_t port) {
  const std::string* list = annotation(pod.meta, ns, skip_inbound_ports_annotation);
  return list != nullptr && list_names(*list, port, nothing_named);
}

bool is_opaque_port(const Pod& pod, const Namespace* ns, std::uint16_t port) {
  const std::string* list = annotation(pod.meta, ns, opaque_ports_annotation);
  return list_names(list != nullptr ? std::string_view(*list) : default_opaque_ports, port,
                    [&](std::string_view name) {
                      return std::ranges::any_of(pod.ports, [&](const ContainerPort& candidate) {
                        return candidate.name == name && candidate.port == port;
                      });
                    });
}

bool is_opaque_port(const Service& service, const Namespace* ns, std::uint16_t port) {
  const std::string* list = annotation(service.meta, ns, opaque_ports_annotation);
  return list_names(list != nullptr ? std::string_view(*list) : default_opaque_ports, port,
                    [&](std::string_view name) {
                      return std::ranges::any_of(service.ports, [&](const ServicePort& candidate) {
                        return candidate.name == name && candidate.port == port;
                      });
                    });
}

std::string identity_name(std::string_view service_account, std::string_view ns, std::string_view control_ns,
                          std::string_view trust_domain) {
  std::string out;
  for (const std::string_view part :
       {service_account, std::string_view("."), ns, std::string_view(".serviceaccount.identity."), control_ns,
        std::string_view("."), trust_domain}) {
    out += part;
  }
  return out;
}

}  // namespace heddle::source
