/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of a connection within a pod, and how to get from one to the other. */
#ifndef HEDDLE_BPF_HOOKS_ENDS_H
#define HEDDLE_BPF_HOOKS_ENDS_H

#include "bpf/maps.h"

static __always_inline void ends_of_socket(struct bpf_sock *sk, struct heddle_address *local,
					   struct heddle_address *remote)
{
	READ_IP(local->ip, sk->family == AF_INET, sk->src_ip4, sk->src_ip6);
	READ_IP(remote->ip, sk->family == AF_INET, sk->dst_ip4, sk->dst_ip6);
	local->port = sk->src_port;
	remote->port = bpf_ntohs(sk->dst_port);
}

static __always_inline int is_own_address(__u64 cookie, const __be32 *ip)
{
	struct heddle_ip_key key = {{ip[0], ip[1], ip[2], ip[3]}};
	struct heddle_pod_ref *ref;

	if (heddle_is_loopback(ip))
		return 1;
	ref = bpf_map_lookup_elem(&addresses, &key);
	return ref && ref->cookie == cookie;
}

/*
 * The socket at the other end, in the same network namespace, to be released; null when it is closed, bound to a
 * device, or somewhere else. A listener is found too: it has nothing stored.
 */
static __always_inline struct bpf_sock *other_end(struct bpf_sock_addr *ctx, const struct heddle_address *local,
						  const struct heddle_address *remote)
{
	struct bpf_sock_tuple tuple = {};

	if (heddle_is_v4(local->ip)) {
		tuple.ipv4.saddr = local->ip[3];
		tuple.ipv4.daddr = remote->ip[3];
		tuple.ipv4.sport = bpf_htons(local->port);
		tuple.ipv4.dport = bpf_htons(remote->port);
		return bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, local->ip, sizeof(tuple.ipv6.saddr));
	__builtin_memcpy(tuple.ipv6.daddr, remote->ip, sizeof(tuple.ipv6.daddr));
	tuple.ipv6.sport = bpf_htons(local->port);
	tuple.ipv6.dport = bpf_htons(remote->port);
	return bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

#endif
