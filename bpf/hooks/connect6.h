/* SPDX-License-Identifier: Apache-2.0 */
#include "bpf/hooks/connect.h"

/* Also the only hook of IPv6 sockets that connect to a v4-mapped address: they stay IPv4, so only word 3 changes. */
SEC("cgroup/connect6")
int heddle_connect6(struct bpf_sock_addr *ctx)
{
	const struct heddle_pod *aim = 0;
	struct heddle_address dst = {};
	int ret;

	if (ctx->protocol != IPPROTO_TCP)
		return HEDDLE_PASS;
	dst.ip[0] = ctx->user_ip6[0];
	dst.ip[1] = ctx->user_ip6[1];
	dst.ip[2] = ctx->user_ip6[2];
	dst.ip[3] = ctx->user_ip6[3];
	dst.port = bpf_ntohs(ctx->user_port);
	ret = judge_and_save(ctx, &dst, &aim);
	if (!aim)
		return ret;
	if (heddle_is_v4(dst.ip)) {
		ctx->user_ip6[3] = aim->ip4[3];
	} else {
		ctx->user_ip6[0] = aim->ip6[0];
		ctx->user_ip6[1] = aim->ip6[1];
		ctx->user_ip6[2] = aim->ip6[2];
		ctx->user_ip6[3] = aim->ip6[3];
	}
	ctx->user_port = bpf_htons(aim->outbound_port);
	return ret;
}
