// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ip.h"
#include "base/result.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

// What the client of an accepted connection dialled.
//   eBPF, outbound:   SO_ORIGINAL_DST, answered by a hook; an error means that somebody dialled the listener
//   itself eBPF, inbound:    getsockname(2), for nothing was rewritten iptables, both:   SO_ORIGINAL_DST,
//   answered by conntrack; without NAT it is the listener's own address
// `client` only tells the family: IPv4 clients of a dual-stack listener are asked about with SOL_IP.
Result<SocketAddress> original_destination(int socket, const SocketAddress& client, Interception interception,
                                           bool outbound);

// Did the client dial the pod's own outbound listener instead of being redirected there? Pure.
bool dials_listener(const Pod& pod, const SocketAddress& original_dst);

// Did it do so from within the pod, by loopback or by an address of the pod's that is its own as well? Nobody
// else can: the kernel takes no packet from outside whose source is an address of its own. An app that has
// this listener as its http_proxy.
bool dialled_from_within(int socket, const SocketAddress& client, const Pod& pod);

}  // namespace heddle::proxy
