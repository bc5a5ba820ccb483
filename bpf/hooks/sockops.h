/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishes where a captured socket was going, so that the proxy can ask. TCP_CONNECT runs before the SYN leaves and
 * the source port is known; ESTABLISHED would be too late for TCP Fast Open. Running twice for one event (nested
 * cgroups) changes nothing. On the pods' cgroup only: the kernel calls for each of a connection's events, some eighteen
 * for the two that make up a captured one, and nearly all of them for nothing.
 */
#include "bpf/hooks/tuple.h"

static __always_inline void count_full(__u64 cookie)
{
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);

	if (pod)
		count(pod->id, HEDDLE_V_TUPLE_MAP_FULL);
}

/*
 * A captured connection that ended before the proxy asked leaves its entry behind. Whoever dials the listener from the
 * same port next was not going there.
 */
static __always_inline void forget(struct bpf_sock_ops *ctx)
{
	struct heddle_tuple tuple;

	tuple_of_connect(ctx, bpf_get_netns_cookie(ctx), &tuple);
	if (heddle_same_ip(tuple.local_ip, tuple.remote_ip) || heddle_is_loopback(tuple.local_ip))
		bpf_map_delete_elem(&connects, &tuple);
}

static __always_inline void publish(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	/* there is one only if a connect was aimed at the proxy */
	const struct heddle_address *original = bpf_sk_storage_get(&peers, sk, 0, 0);
	struct heddle_address copy;
	struct heddle_tuple tuple;

	if (!original) {
		forget(ctx);
		return;
	}
	copy = *original;
	tuple_of_connect(ctx, bpf_get_netns_cookie(ctx), &tuple);
	if (bpf_map_update_elem(&connects, &tuple, &copy, BPF_ANY))
		/* the proxy will find no destination and end the connection: closed, not around it */
		count_full(tuple.cookie);
}

SEC("sockops")
int heddle_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return 1;
	sk = ctx->sk;
	if (sk)
		publish(ctx, sk);
	return 1;
}
