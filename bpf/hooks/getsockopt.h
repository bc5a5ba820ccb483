/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers SO_ORIGINAL_DST on connections accepted by outbound listeners, so that one proxy works under eBPF and under
 * nat REDIRECT alike. On the mesh cgroup only: it taxes every getsockopt there.
 */
#include "bpf/maps.h"

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

static __always_inline void ends_of_socket(struct bpf_sock *sk, struct heddle_address *local,
					   struct heddle_address *remote)
{
	READ_IP(local->ip, sk->family == AF_INET, sk->src_ip4, sk->src_ip6);
	READ_IP(remote->ip, sk->family == AF_INET, sk->dst_ip4, sk->dst_ip6);
	local->port = sk->src_port;
	remote->port = bpf_ntohs(sk->dst_port);
}

/*
 * Accepted by a pod's outbound listener, yet no connect hook has sent it: somebody dialled the listener. The kernel's
 * own answer could be conntrack's, which would name the listener as its destination.
 */
static __always_inline int refuse_direct_dial(struct bpf_sockopt *ctx)
{
	struct heddle_address local = {}, remote = {};
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct bpf_sock *sk = ctx->sk;

	if (!pod || !sk || sk->src_port != pod->outbound_port)
		return 1;
	ends_of_socket(sk, &local, &remote);
	count_drop(pod->id, cookie, HEDDLE_V_ORIGINAL_DST_MISSING, &local, &remote);
	return answer(ctx, 0, -2 /* ENOENT */);
}

SEC("cgroup/getsockopt")
int heddle_getsockopt(struct bpf_sockopt *ctx)
{
	const struct heddle_address *dst;
	struct sockaddr_in6 *in6;
	struct sockaddr_in *in;

	if (ctx->optname != SO_ORIGINAL_DST || (ctx->level != SOL_IP && ctx->level != SOL_IPV6) || !ctx->sk)
		return 1;
	dst = bpf_sk_storage_get(&original_dsts, ctx->sk, 0, 0);
	if (!dst)
		return refuse_direct_dial(ctx);
	if (ctx->level == SOL_IP) {
		in = ctx->optval;
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
	in6 = ctx->optval;
	if ((void *)(in6 + 1) > ctx->optval_end)
		return answer(ctx, 0, -22 /* EINVAL */);
	__builtin_memset(in6, 0, sizeof(*in6));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = bpf_htons(dst->port);
	__builtin_memcpy(&in6->sin6_addr, dst->ip, sizeof(dst->ip));
	return answer(ctx, sizeof(*in6), 0);
}
