/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers SO_ORIGINAL_DST, once, on connections accepted by outbound listeners, so that one proxy works under eBPF and
 * under nat REDIRECT alike. On the mesh cgroup only: it taxes every getsockopt there.
 */
#include "bpf/hooks/ends.h"
#include "bpf/hooks/tuple.h"

#define SOL_IP 0
#define SOL_IPV6 41
#define SO_ORIGINAL_DST 80 /* IP6T_SO_ORIGINAL_DST too */

static __always_inline int answer(struct bpf_sockopt *ctx, int length, int result)
{
	if (result == 0)
		WORD(ctx->optlen) = length;
	WORD(ctx->retval) = result;
	return 1;
}

/*
 * Not known where it was going, or told already. The kernel's own answer could be conntrack's, which would name the
 * listener as its destination.
 */
static __always_inline int refuse_unknown(struct bpf_sockopt *ctx, __u64 cookie, __u16 local_port)
{
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);

	if (!pod || local_port != pod->outbound_port)
		return 1;
	return answer(ctx, 0, -2 /* ENOENT */);
}

/* A connection that was reset before anybody accepted it has given its port back; its bytes are there nevertheless. */
static __always_inline __u16 port_of_listener(__u64 cookie)
{
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);

	return pod ? pod->outbound_port : 0;
}

static __always_inline int answer_v4(struct bpf_sockopt *ctx, const struct heddle_address *dst)
{
	struct sockaddr_in *in = ctx->optval;

	if ((void *)(in + 1) > ctx->optval_end)
		return answer(ctx, 0, -22 /* EINVAL */);
	if (!heddle_is_v4(dst->ip))
		return answer(ctx, 0, -2 /* ENOENT */);
	__builtin_memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	in->sin_port = bpf_htons(dst->port);
	in->sin_addr.s_addr = dst->ip[3];
	return answer(ctx, sizeof(*in), 0);
}

static __always_inline int answer_v6(struct bpf_sockopt *ctx, const struct heddle_address *dst)
{
	struct sockaddr_in6 *in6 = ctx->optval;

	if ((void *)(in6 + 1) > ctx->optval_end)
		return answer(ctx, 0, -22 /* EINVAL */);
	__builtin_memset(in6, 0, sizeof(*in6));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = bpf_htons(dst->port);
	__builtin_memcpy(&in6->sin6_addr, dst->ip, sizeof(dst->ip));
	return answer(ctx, sizeof(*in6), 0);
}

SEC("cgroup/getsockopt")
int heddle_getsockopt(struct bpf_sockopt *ctx)
{
	struct heddle_address local = {}, remote = {};
	const struct heddle_address *dst;
	struct heddle_tuple tuple;
	__u64 cookie;
	int passed;

	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6) || !ctx->sk)
		return 1;
	cookie = bpf_get_netns_cookie(ctx);
	ends_of_socket(ctx->sk, &local, &remote);
	if (!local.port)
		local.port = port_of_listener(cookie);
	tuple_of_accept(&local, &remote, cookie, &tuple);
	dst = bpf_map_lookup_elem(&connects, &tuple);
	if (!dst)
		return refuse_unknown(ctx, cookie, local.port);
	passed = ctx->level == SOL_IP ? answer_v4(ctx, dst) : answer_v6(ctx, dst);
	if (ctx->retval == 0)
		bpf_map_delete_elem(&connects, &tuple);
	return passed;
}
