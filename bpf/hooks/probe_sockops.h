/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On kubelet's cgroup: remembers its connections to pods for as long as they live, so that sk_lookup lets exactly
 * these pass. No source address, no SNAT: another process of the node does not look like kubelet.
 */
#include "bpf/hooks/tuple.h"

SEC("sockops")
int heddle_probe_sockops(struct bpf_sock_ops *ctx)
{
	struct heddle_ip_key remote;
	struct heddle_tuple tuple;
	__u32 yes = 1;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		remote_ip_of(ctx, remote.ip);
		if (!bpf_map_lookup_elem(&addresses, &remote))
			return 1;
		tuple_of_connect(ctx, 0, &tuple);
		bpf_map_update_elem(&probes, &tuple, &yes, BPF_ANY);
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	} else if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_CLOSE) {
		tuple_of_connect(ctx, 0, &tuple);
		bpf_map_delete_elem(&probes, &tuple);
	}
	return 1;
}
