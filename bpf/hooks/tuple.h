/* SPDX-License-Identifier: Apache-2.0 */
/* How the two ends of a connection find the same key: always from the connecting end. */
#ifndef HEDDLE_BPF_HOOKS_TUPLE_H
#define HEDDLE_BPF_HOOKS_TUPLE_H

#include "bpf/maps.h"

static __always_inline void local_ip_of(struct bpf_sock_ops *ctx, __be32 *ip)
{
	READ_IP(ip, ctx->family == AF_INET, ctx->local_ip4, ctx->local_ip6);
}

static __always_inline void remote_ip_of(struct bpf_sock_ops *ctx, __be32 *ip)
{
	READ_IP(ip, ctx->family == AF_INET, ctx->remote_ip4, ctx->remote_ip6);
}

/* Seen from the connecting socket. */
static __always_inline void tuple_of_connect(struct bpf_sock_ops *ctx, __u64 cookie, struct heddle_tuple *tuple)
{
	tuple->cookie = cookie;
	local_ip_of(ctx, tuple->local_ip);
	remote_ip_of(ctx, tuple->remote_ip);
	tuple->local_port = ctx->local_port;
	tuple->remote_port = bpf_ntohl(ctx->remote_port);
	tuple->pad = 0;
}

/* Seen from the accepted socket, whose ends these are. */
static __always_inline void tuple_of_accept(const struct heddle_address *local, const struct heddle_address *remote,
					    __u64 cookie, struct heddle_tuple *tuple)
{
	tuple->cookie = cookie;
	__builtin_memcpy(tuple->local_ip, remote->ip, sizeof(tuple->local_ip));
	__builtin_memcpy(tuple->remote_ip, local->ip, sizeof(tuple->remote_ip));
	tuple->local_port = remote->port;
	tuple->remote_port = local->port;
	tuple->pad = 0;
}

#endif
