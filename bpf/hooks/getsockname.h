/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy did not learn where a connection was going and asks for its own address, which is where this hook looks
 * again: the app's socket knows, as long as it is open. That publishes the destination anew. Whoever dialled the
 * listener without being sent there is counted.
 */
#include "bpf/hooks/ends.h"
#include "bpf/hooks/tuple.h"

static __always_inline int find_destination(struct bpf_sock_addr *ctx, const struct heddle_address *local,
					    const struct heddle_address *remote, struct heddle_address *found)
{
	struct bpf_sock *app = other_end(ctx, local, remote);
	const struct heddle_address *original;

	if (!app)
		return 0;
	original = bpf_sk_storage_get(&peers, app, 0, 0);
	if (original)
		*found = *original;
	bpf_sk_release(app);
	return original != 0;
}

static __always_inline void publish_again(struct bpf_sock_addr *ctx)
{
	struct heddle_address local = {}, remote = {}, original = {};
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct bpf_sock *sk = ctx->sk;
	struct heddle_tuple tuple;

	/* not if it came from outside the pod, to a port that happens to be the listener's */
	if (!pod || !sk || sk->src_port != pod->outbound_port)
		return;
	ends_of_socket(sk, &local, &remote);
	tuple_of_accept(&local, &remote, cookie, &tuple);
	if (bpf_map_lookup_elem(&connects, &tuple) || !is_own_address(cookie, remote.ip))
		return;
	if (find_destination(ctx, &local, &remote, &original))
		bpf_map_update_elem(&connects, &tuple, &original, BPF_ANY);
	else
		count_drop(pod->id, cookie, HEDDLE_V_ORIGINAL_DST_MISSING, &local, &remote);
}

SEC("cgroup/getsockname4")
int heddle_getsockname4(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == IPPROTO_TCP)
		publish_again(ctx);
	return 1;
}

SEC("cgroup/getsockname6")
int heddle_getsockname6(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == IPPROTO_TCP)
		publish_again(ctx);
	return 1;
}
