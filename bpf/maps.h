/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every map of the object. The pinned ones carry the state that outlives the agent. Their layout is HEDDLE_ABI_VERSION.
 */
#ifndef HEDDLE_BPF_MAPS_H
#define HEDDLE_BPF_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/decide.h"
#include "bpf/shared/abi.h"

/*
 * One word of a context or a socket. Without volatile clang joins neighbouring accesses into one wider, which the
 * verifier refuses.
 */
#define WORD(field) (*(volatile __u32 *)&(field))

/* Pods by netns cookie. Written by the agent only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HEDDLE_MAX_PODS);
	__type(key, __u64);
	__type(value, struct heddle_pod);
} pods SEC(".maps");

/* Pods by each of their addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HEDDLE_MAX_POD_ADDRESSES);
	__type(key, struct heddle_ip_key);
	__type(value, struct heddle_pod_ref);
} addresses SEC(".maps");

/* Inbound listeners by pod id. An entry disappears with the last descriptor of its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, HEDDLE_MAX_PODS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/* Sources that pass as kubelet when its cgroup is unknown. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct heddle_ip_key);
	__type(value, __u32);
} node_addresses SEC(".maps");

/*
 * Client sockets' original destinations, from TCP_CONNECT until the proxy asks. The oldest make room for new ones;
 * where that hits a connection that still waits, getsockname.h finds it again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HEDDLE_MAX_TUPLES);
	__type(key, struct heddle_tuple);
	__type(value, struct heddle_address);
} connects SEC(".maps");

/* Kubelet's connections to pods, from TCP_CONNECT to their end. The key's cookie is 0. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct heddle_tuple);
	__type(value, __u32);
} probes SEC(".maps");

/* On sockets of apps: the peer that getpeername and accept show. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct heddle_address);
} peers SEC(".maps");

/* The agent's tag on sockets it made for the proxy. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct heddle_mesh_socket);
} mesh_sockets SEC(".maps");

/*
 * Counters by pod id, added to atomically. A per-CPU map would have to be allocated for every CPU and pod in advance:
 * made on demand, entries failed with ENOMEM after 163 pods in a row.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HEDDLE_MAX_PODS);
	__type(key, __u32);
	__type(value, struct heddle_counters);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} drops SEC(".maps");

/*
 * Copies the address in the fields v4 and v6[4] of a context or a socket. All five words are read before the choice:
 * clang would join reads in two branches into one through a computed pointer, which the verifier refuses.
 */
#define READ_IP(ip, is_ipv4, v4, v6)                                                                                   \
	do {                                                                                                           \
		__be32 word4 = WORD(v4);                                                                               \
		(ip)[0] = WORD((v6)[0]);                                                                               \
		(ip)[1] = WORD((v6)[1]);                                                                               \
		(ip)[2] = WORD((v6)[2]);                                                                               \
		(ip)[3] = WORD((v6)[3]);                                                                               \
		if (is_ipv4)                                                                                           \
			heddle_map_v4(ip, word4);                                                                      \
	} while (0)

static __always_inline void count(__u32 pod_id, enum heddle_verdict verdict)
{
	struct heddle_counters *counters = bpf_map_lookup_elem(&verdicts, &pod_id);

	if (counters && verdict < HEDDLE_V_COUNT)
		__sync_fetch_and_add(&counters->count[verdict], 1);
}

/* Counts, and tells the agent who it was. A full buffer loses the event, never the count. */
static __always_inline void count_drop(__u32 pod_id, __u64 cookie, enum heddle_verdict verdict,
				       const struct heddle_address *local, const struct heddle_address *remote)
{
	struct heddle_drop *drop;

	count(pod_id, verdict);
	drop = bpf_ringbuf_reserve(&drops, sizeof(*drop), 0);
	if (!drop)
		return;
	drop->time_ns = bpf_ktime_get_ns();
	drop->cookie = cookie;
	drop->pod_id = pod_id;
	drop->verdict = verdict;
	drop->local = *local;
	drop->remote = *remote;
	bpf_ringbuf_submit(drop, 0);
}

#endif
