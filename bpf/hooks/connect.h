/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connect4 and connect6 share. Runs in the connecting process, before routing, on the pods' cgroup: once per
 * attempt, also for TCP Fast Open and for v4-mapped addresses (there as connect6 only).
 */
#ifndef HEDDLE_BPF_HOOKS_CONNECT_H
#define HEDDLE_BPF_HOOKS_CONNECT_H

#include "bpf/hooks/ends.h"

#define HEDDLE_PASS 1
#define HEDDLE_REFUSE 0

/* A fail-open pod without a living listener connects as if there were no mesh. */
static __always_inline int fails_open(const struct heddle_pod *pod)
{
	__u32 id = pod->id;
	struct bpf_sock *listener;

	if (!(pod->flags & HEDDLE_POD_FAIL_OPEN))
		return 0;
	listener = bpf_map_lookup_elem(&listeners, &id);
	if (!listener)
		return 1;
	bpf_sk_release(listener);
	return 0;
}

static __always_inline enum heddle_verdict judge_connect(struct bpf_sock_addr *ctx, const struct heddle_pod *pod,
							 __u64 cookie, const struct heddle_address *dst)
{
	enum heddle_verdict verdict;

	if (bpf_sk_storage_get(&mesh_sockets, ctx->sk, 0, 0))
		return HEDDLE_V_OUT_MESH_SOCKET;
	if (is_own_address(cookie, dst->ip))
		return HEDDLE_V_OUT_LOOPBACK;
	verdict = heddle_decide_outbound(pod, dst->ip, dst->port);
	if (verdict == HEDDLE_V_OUT_REDIRECTED && fails_open(pod))
		return HEDDLE_V_OUT_FAIL_OPEN;
	return verdict;
}

/*
 * The kernel's words to a pod without an address of that family would be ENETUNREACH; programs that try both
 * families go on at once.
 */
static __always_inline int refuse_connect(const struct heddle_pod *pod, __u64 cookie, const struct heddle_address *dst,
					  int error)
{
	struct heddle_address nowhere = {};

	count_drop(pod->id, cookie, HEDDLE_V_OUT_REFUSED, &nowhere, dst);
	bpf_set_retval(-error);
	return HEDDLE_REFUSE;
}

/*
 * Decides on a connect to `dst`. Returns what the hook has to return; sets `aim` only when the destination shall be
 * rewritten to the pod's listener. What is not captured loses the state of an earlier attempt on the same socket, or
 * getpeername would show that attempt's destination.
 */
static __always_inline int judge_and_save(struct bpf_sock_addr *ctx, const struct heddle_address *dst,
					  const struct heddle_pod **aim)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct heddle_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct heddle_address *saved;
	enum heddle_verdict verdict;

	if (!pod || !(pod->flags & HEDDLE_POD_ENROLLED)) {
		bpf_sk_storage_delete(&peers, ctx->sk);
		return HEDDLE_PASS;
	}
	verdict = judge_connect(ctx, pod, cookie, dst);
	if (verdict == HEDDLE_V_OUT_REFUSED)
		return refuse_connect(pod, cookie, dst, 101 /* ENETUNREACH */);
	if (verdict != HEDDLE_V_OUT_REDIRECTED) {
		count(pod->id, verdict);
		bpf_sk_storage_delete(&peers, ctx->sk);
		return HEDDLE_PASS;
	}
	saved = bpf_sk_storage_get(&peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!saved) /* no memory: without the destination the proxy could not go on */
		return refuse_connect(pod, cookie, dst, 12 /* ENOMEM */);
	*saved = *dst;
	count(pod->id, verdict);
	*aim = pod;
	return HEDDLE_PASS;
}

#endif
