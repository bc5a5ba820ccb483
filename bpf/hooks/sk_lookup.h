/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attached to each pod's netns: every SYN that finds no connection comes by. What is for the pod goes to its inbound
 * listener, whatever its port; with nobody to take it, it is dropped. This hook may not ask for the netns cookie: the
 * pod is found by the address that was dialled, and an unknown one in an attached netns is dropped too.
 */
#include "bpf/maps.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

static __always_inline void ends_of(struct bpf_sk_lookup *ctx, struct heddle_address *local,
				    struct heddle_address *remote)
{
	READ_IP(local->ip, ctx->family == AF_INET, ctx->local_ip4, ctx->local_ip6);
	READ_IP(remote->ip, ctx->family == AF_INET, ctx->remote_ip4, ctx->remote_ip6);
	local->port = ctx->local_port;
	remote->port = bpf_ntohs(ctx->remote_port);
}

static __always_inline int is_kubelet(const struct heddle_address *local, const struct heddle_address *remote)
{
	struct heddle_ip_key source = {{remote->ip[0], remote->ip[1], remote->ip[2], remote->ip[3]}};
	struct heddle_tuple tuple = {.local_port = remote->port, .remote_port = local->port};

	__builtin_memcpy(tuple.local_ip, remote->ip, sizeof(tuple.local_ip));
	__builtin_memcpy(tuple.remote_ip, local->ip, sizeof(tuple.remote_ip));
	return bpf_map_lookup_elem(&probes, &tuple) || bpf_map_lookup_elem(&node_addresses, &source);
}

static __always_inline enum heddle_verdict steer(struct bpf_sk_lookup *ctx, const struct heddle_pod *pod)
{
	__u32 id = pod->id;
	struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &id);
	long error;

	if (listener) {
		error = bpf_sk_assign(ctx, listener, 0);
		bpf_sk_release(listener);
		if (!error)
			return HEDDLE_V_IN_STEERED;
	}
	return pod->flags & HEDDLE_POD_FAIL_OPEN ? HEDDLE_V_IN_FAIL_OPEN : HEDDLE_V_IN_DROP_NO_LISTENER;
}

static __always_inline struct heddle_pod_ref *pod_ref(const __be32 *ip)
{
	struct heddle_ip_key key = {{ip[0], ip[1], ip[2], ip[3]}};

	return bpf_map_lookup_elem(&addresses, &key);
}

/*
 * `from` is the owner of the source address. The pod's own connections travel over lo, but report the interface of
 * the address: comparing the addresses is what keeps the proxy's connection to the app from coming back to the proxy.
 */
static __always_inline enum heddle_verdict judge_syn(struct bpf_sk_lookup *ctx, const struct heddle_pod *pod,
						     const struct heddle_address *local,
						     const struct heddle_address *remote, int from_self)
{
	enum heddle_verdict verdict;

	if (from_self)
		return local->port == pod->inbound_port ? HEDDLE_V_IN_DROP_SELF : HEDDLE_V_IN_LOCAL;
	verdict = heddle_decide_inbound(pod, local->port, remote->ip);
	if (verdict != HEDDLE_V_IN_STEERED)
		return verdict;
	if (is_kubelet(local, remote))
		return HEDDLE_V_IN_PROBE;
	return steer(ctx, pod);
}

SEC("sk_lookup")
int heddle_sk_lookup(struct bpf_sk_lookup *ctx)
{
	struct heddle_address local = {}, remote = {};
	struct heddle_pod_ref *to, *from = 0;
	struct heddle_pod *pod = 0;
	enum heddle_verdict verdict;
	__u64 cookie = 0;
	int from_self;

	if (ctx->protocol != IPPROTO_TCP || ctx->ingress_ifindex == LOOPBACK_IFINDEX)
		return SK_PASS;
	ends_of(ctx, &local, &remote);
	to = pod_ref(local.ip);
	if (to) {
		cookie = to->cookie;
		pod = bpf_map_lookup_elem(&pods, &cookie);
	}
	if (!pod) {
		if (heddle_same_ip(local.ip, remote.ip))
			return SK_PASS;
		count_drop(0, cookie, HEDDLE_V_IN_DROP_UNKNOWN_ADDRESS, &local, &remote);
		return SK_DROP;
	}
	from_self = heddle_same_ip(local.ip, remote.ip); /* most: each captured connect comes by here */
	if (!from_self) {
		from = pod_ref(remote.ip);
		from_self = from && from->cookie == cookie;
	}
	verdict = judge_syn(ctx, pod, &local, &remote, from_self);
	if (verdict == HEDDLE_V_IN_DROP_NO_LISTENER || verdict == HEDDLE_V_IN_DROP_SELF) {
		count_drop(pod->id, cookie, verdict, &local, &remote);
		return SK_DROP;
	}
	count(pod->id, verdict);
	return SK_PASS;
}
