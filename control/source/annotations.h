// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "control/source/objects.h"
#include "control/source/snapshot.h"

// What labels and annotations say about a pod's or a service's part in the mesh (Linkerd's names and
// defaults).
namespace heddle::source {

inline constexpr std::string_view inject_annotation = "linkerd.io/inject";
inline constexpr std::string_view opaque_ports_annotation = "config.linkerd.io/opaque-ports";
inline constexpr std::string_view skip_inbound_ports_annotation = "config.linkerd.io/skip-inbound-ports";
// SMTP, submission, MySQL, Galera, PostgreSQL, Redis, Elasticsearch transport, memcached.
inline constexpr std::string_view default_opaque_ports = "25,587,3306,4444,5432,6379,9300,11211";

// The annotation of the object, else of its namespace (which may be null), else nullptr.
const std::string* annotation(const Meta& object, const Namespace* ns, std::string_view key);

// Injection is asked for (enabled or ingress) and possible. A pod on the host's network never is meshed.
bool is_meshed(const Pod& pod, const Namespace* ns);
// Connections to this port of a meshed pod bypass the proxy.
bool skips_inbound(const Pod& pod, const Namespace* ns, std::uint16_t port);

// An opaque-ports annotation replaces the default list, it does not extend it. Entries are numbers, ranges,
// or names of ports; names are looked up by the caller's two functions below.
bool is_opaque_port(const Pod& pod, const Namespace* ns, std::uint16_t port);
bool is_opaque_port(const Service& service, const Namespace* ns, std::uint16_t port);

// "<service account>.<namespace>.serviceaccount.identity.<control namespace>.<trust domain>"
std::string identity_name(std::string_view service_account, std::string_view ns, std::string_view control_ns,
                          std::string_view trust_domain);

}  // namespace heddle::source
