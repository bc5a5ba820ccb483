// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <variant>

#include "base/ip.h"
#include "base/result.h"

namespace heddle::control {

// A service's port, or one instance of it (a StatefulSet's pod: "web-0.web.shop.svc.cluster.local:80").
struct ServiceTarget {
  std::string ns;
  std::string service;
  std::string instance;  // hostname of one endpoint; empty: the whole service
  std::uint16_t port = 0;

  auto operator<=>(const ServiceTarget&) const = default;
};

using Target = std::variant<ServiceTarget, SocketAddress>;

// Reads GetDestination.path: "NAME.NAMESPACE.svc.DOMAIN[:PORT]", with an instance before it or a dot after
// it, or an IP address with a port. The port defaults to 80, as in Linkerd. Errc::invalid_argument tells the
// forms.
Result<Target> parse_target(std::string_view path, std::string_view cluster_domain);

// Who asks, from GetDestination.context_token. All may be empty.
struct Client {
  std::string ns;
  std::string node;
  std::string pod;
};

// JSON {"ns","nodeName","pod"}. The token only tunes the answer (zones, local traffic), so one that cannot be
// read is the same as none.
Client parse_client(std::string_view context_token);

}  // namespace heddle::control
