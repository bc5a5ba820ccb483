// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "proxy/connection.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// Whom a request to a forward proxy names.
struct NamedTarget {
  std::string host;       // in lower case, without a final dot; empty: `address`
  SocketAddress address;  // with a host only the port
};
// "web.shop.svc.cluster.local:80", "web:", "10.1.2.3", "[::1]:80". Errors: no host, user information, a host
// with characters that no DNS name has, no port and `default_port` is 0.
Result<NamedTarget> parse_authority(std::string_view authority, std::uint16_t default_port);

// HTTP/1 of an app that takes us for its forward proxy (http_proxy=http://127.0.0.1:4140): each request's
// absolute target says where it goes, by a service's DNS name or an address; CONNECT makes a connection of
// it. Otherwise everything is as for captured connections. `dialled`: where requests go that name no
// target, as those of programs which do not know of a proxy; null: they are refused.
void serve_forward_proxy(Worker& worker, PodRef pod, SocketAddress client, DestinationRef dialled,
                         std::unique_ptr<Stream> stream);

}  // namespace heddle::proxy
