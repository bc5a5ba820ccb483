/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries what the connecting socket knows to the accepted one of the same connection. TCP_CONNECT runs before the
 * SYN leaves and the source port is known; ESTABLISHED of the connecting side would be too late for TCP Fast Open,
 * whose passive side is established by the SYN. Running twice for one event (nested cgroups) changes nothing.
 */
#include "bpf/hooks/tuple.h"

#define SOL_SOCKET 1
#define SO_KEEPALIVE 9
#define SOL_TCP 6
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6

/* From here it costs a fraction of what system calls do, and agent and proxy need none for a socket of theirs. */
static __always_inline void set_keepalive(struct bpf_sock_ops *ctx)
{
	int on = 1, seconds = HEDDLE_KEEPALIVE_S, probes = HEDDLE_KEEPALIVE_PROBES;

	bpf_setsockopt(ctx, SOL_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
	bpf_setsockopt(ctx, SOL_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
	bpf_setsockopt(ctx, SOL_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	bpf_setsockopt(ctx, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static __always_inline void count_full(__u64 cookie)
{
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);

	if (pod)
		count(pod->id, HEDDLE_V_TUPLE_MAP_FULL);
}

static __always_inline void publish_client(struct bpf_sock_ops *ctx, const struct heddle_mesh_socket *mesh)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct heddle_address copy = mesh->client;
	struct heddle_tuple tuple;

	if (!pod || !(pod->flags & HEDDLE_POD_CLIENT_SOURCE))
		return;
	tuple_of_connect(ctx, cookie, &tuple);
	if (bpf_map_update_elem(&clients, &tuple, &copy, BPF_ANY)) /* the app will see the proxy */
		count(pod->id, HEDDLE_V_TUPLE_MAP_FULL);
}

/*
 * A mesh socket's connect that found nobody, or ended before its app saw it, leaves its client behind. Whoever dials
 * within the pod from the same port next is not that client.
 */
static __always_inline void forget_client(struct bpf_sock_ops *ctx)
{
	struct heddle_tuple tuple;

	tuple_of_connect(ctx, bpf_get_netns_cookie(ctx), &tuple);
	if (tuple.local_ip[3] == tuple.remote_ip[3] && tuple.local_ip[2] == tuple.remote_ip[2])
		bpf_map_delete_elem(&clients, &tuple);
}

static __always_inline void publish(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	const struct heddle_mesh_socket *mesh = bpf_sk_storage_get(&mesh_sockets, sk, 0, 0);
	const struct heddle_address *original;
	struct heddle_address copy;
	struct heddle_tuple tuple;

	if (mesh) {
		set_keepalive(ctx);
		if (mesh->has_client)
			publish_client(ctx, mesh);
		else
			forget_client(ctx);
		return;
	}
	original = bpf_sk_storage_get(&peers, sk, 0, 0); /* there is one only if a connect was aimed at the proxy */
	if (!original) {
		forget_client(ctx);
		return;
	}
	copy = *original;
	tuple_of_connect(ctx, bpf_get_netns_cookie(ctx), &tuple);
	if (bpf_map_update_elem(&connects, &tuple, &copy, BPF_ANY))
		/* the proxy will find no destination and end the connection: closed, not around it */
		count_full(tuple.cookie);
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
	__u32 op = ctx->op;
	struct bpf_sock *sk;

	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1; /* most of a connection's events */
	sk = ctx->sk;
	if (!sk)
		return 1;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		publish(ctx, sk);
	else
		take_over(ctx, sk);
	return 1;
}
