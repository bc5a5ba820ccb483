/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows apps the peer they mean: the destination they dialled, or the client behind the proxy's connection. accept(2)
 * asks here too. An address that the socket's family cannot express is left as it is.
 */
#include "bpf/hooks/ends.h"

/*
 * The client that the proxy's socket at the other end speaks for. Kept on the app's socket: the next question may come
 * when the proxy's is closed. Only those who ask pay for it.
 */
static __always_inline const struct heddle_address *client_of(struct bpf_sock_addr *ctx)
{
	struct heddle_address local = {}, remote = {}, client = {};
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct heddle_mesh_socket *mesh;
	struct heddle_address *kept;
	struct bpf_sock *other;
	struct heddle_pod *pod;

	ends_of_socket(ctx->sk, &local, &remote);
	if (!heddle_same_ip(local.ip, remote.ip)) /* what most servers outside of the mesh find */
		return 0;
	pod = bpf_map_lookup_elem(&pods, &cookie);
	if (!pod || !(pod->flags & HEDDLE_POD_CLIENT_SOURCE))
		return 0;
	other = other_end(ctx, &local, &remote);
	if (!other)
		return 0;
	mesh = bpf_sk_storage_get(&mesh_sockets, other, 0, 0);
	if (mesh && mesh->has_client)
		client = mesh->client;
	bpf_sk_release(other);
	if (!client.port)
		return 0;
	kept = bpf_sk_storage_get(&peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = client;
	return kept;
}

static __always_inline const struct heddle_address *meant_peer(struct bpf_sock_addr *ctx)
{
	const struct heddle_address *peer = bpf_sk_storage_get(&peers, ctx->sk, 0, 0);

	if (peer || ctx->protocol != IPPROTO_TCP)
		return peer;
	return client_of(ctx);
}

SEC("cgroup/getpeername4")
int heddle_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct heddle_address *peer = meant_peer(ctx);

	if (peer && heddle_is_v4(peer->ip)) {
		ctx->user_ip4 = peer->ip[3];
		ctx->user_port = bpf_htons(peer->port);
	}
	return 1;
}

SEC("cgroup/getpeername6")
int heddle_getpeername6(struct bpf_sock_addr *ctx)
{
	const struct heddle_address *peer = meant_peer(ctx);

	if (peer) {
		ctx->user_ip6[0] = peer->ip[0];
		ctx->user_ip6[1] = peer->ip[1];
		ctx->user_ip6[2] = peer->ip[2];
		ctx->user_ip6[3] = peer->ip[3];
		ctx->user_port = bpf_htons(peer->port);
	}
	return 1;
}
