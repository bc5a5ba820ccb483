/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows apps the peer they mean: the destination they dialled, or the client behind the proxy's connection. accept(2)
 * asks here too. An address that the socket's family cannot express is left as it is.
 */
#include "bpf/maps.h"

SEC("cgroup/getpeername4")
int heddle_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct heddle_address *peer = bpf_sk_storage_get(&peers, ctx->sk, 0, 0);

	if (peer && heddle_is_v4(peer->ip)) {
		ctx->user_ip4 = peer->ip[3];
		ctx->user_port = bpf_htons(peer->port);
	}
	return 1;
}

SEC("cgroup/getpeername6")
int heddle_getpeername6(struct bpf_sock_addr *ctx)
{
	const struct heddle_address *peer = bpf_sk_storage_get(&peers, ctx->sk, 0, 0);

	if (peer) {
		ctx->user_ip6[0] = peer->ip[0];
		ctx->user_ip6[1] = peer->ip[1];
		ctx->user_ip6[2] = peer->ip[2];
		ctx->user_ip6[3] = peer->ip[3];
		ctx->user_port = bpf_htons(peer->port);
	}
	return 1;
}
