/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heddle's own socket option, on tagged sockets only: the proxy, which has no right to write a map, says for which
 * client it is about to connect. Anybody else's use goes on to the kernel, which knows no such level.
 */
#include "bpf/maps.h"

SEC("cgroup/setsockopt")
int heddle_setsockopt(struct bpf_sockopt *ctx)
{
	struct heddle_mesh_socket *mesh;
	struct heddle_address *client;

	if (ctx->level != HEDDLE_SOL || ctx->optname != HEDDLE_SO_CLIENT_ADDRESS || !ctx->sk)
		return 1;
	mesh = bpf_sk_storage_get(&mesh_sockets, ctx->sk, 0, 0);
	if (!mesh)
		return 1;
	client = ctx->optval;
	if ((void *)(client + 1) > ctx->optval_end) {
		bpf_set_retval(-22 /* EINVAL */);
		return 0;
	}
	mesh->client = *client;
	mesh->has_client = client->port != 0; /* none: a socket that is used again */
	ctx->optlen = -1;		      /* done: the kernel's own setsockopt is not asked */
	return 1;
}
