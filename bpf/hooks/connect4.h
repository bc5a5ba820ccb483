/* SPDX-License-Identifier: Apache-2.0 */
#include "bpf/hooks/connect.h"

SEC("cgroup/connect4")
int heddle_connect4(struct bpf_sock_addr *ctx)
{
	const struct heddle_pod *aim = 0;
	struct heddle_address dst = {};
	int ret;

	if (ctx->protocol != IPPROTO_TCP)
		return HEDDLE_PASS;
	heddle_map_v4(dst.ip, ctx->user_ip4);
	dst.port = bpf_ntohs(ctx->user_port);
	ret = judge_and_save(ctx, &dst, &aim);
	if (aim) {
		ctx->user_ip4 = aim->ip4[3];
		ctx->user_port = bpf_htons(aim->outbound_port);
	}
	return ret;
}
