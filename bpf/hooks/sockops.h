/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries what the connecting socket knows to the accepted one of the same connection. TCP_CONNECT runs before the
 * SYN leaves and the source port is known; ESTABLISHED of the connecting side would be too late for TCP Fast Open,
 * whose passive side is established by the SYN. Running twice for one event (nested cgroups) changes nothing.
 */
#include "bpf/hooks/tuple.h"

static __always_inline void publish(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct heddle_mesh_socket *mesh = bpf_sk_storage_get(&mesh_sockets, sk, 0, 0);
	struct heddle_address *what, copy;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct heddle_tuple tuple;
	struct heddle_pod *pod;
	long error;

	if (mesh)
		what = mesh->has_client ? &mesh->client : 0;
	else
		what = bpf_sk_storage_get(&peers, sk, 0, 0);
	if (!what)
		return;
	pod = bpf_map_lookup_elem(&pods, &cookie);
	if (!pod || (mesh && !(pod->flags & HEDDLE_POD_CLIENT_SOURCE)))
		return;
	copy = *what;
	tuple_of_connect(ctx, cookie, &tuple);
	if (mesh)
		error = bpf_map_update_elem(&clients, &tuple, &copy, BPF_ANY);
	else
		error = bpf_map_update_elem(&connects, &tuple, &copy, BPF_ANY);
	if (error) /* the proxy will find no destination and end the connection: closed, not around it */
		count(pod->id, HEDDLE_V_TUPLE_MAP_FULL);
}

static __always_inline void take_over(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct heddle_address *found, *kept;
	struct heddle_tuple tuple;

	if (!pod)
		return;
	tuple_of_accept(ctx, cookie, &tuple);
	if (tuple.remote_port == pod->outbound_port) {
		found = bpf_map_lookup_elem(&connects, &tuple);
		if (!found)
			return;
		kept = bpf_sk_storage_get(&original_dsts, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (kept)
			*kept = *found;
		bpf_map_delete_elem(&connects, &tuple);
		return;
	}
	found = bpf_map_lookup_elem(&clients, &tuple);
	if (!found)
		return;
	kept = bpf_sk_storage_get(&peers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = *found;
	bpf_map_delete_elem(&clients, &tuple);
}

SEC("sockops")
int heddle_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		publish(ctx, sk);
	else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		take_over(ctx, sk);
	return 1;
}
