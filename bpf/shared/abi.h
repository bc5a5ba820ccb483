/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the BPF programs and user space both know: map keys and values, limits, verdicts. Compiled by both sides.
 *
 * Addresses are 16 bytes in network order, IPv4 as v4-mapped (::ffff:a.b.c.d), in four __be32 words. Ports are in
 * host byte order unless a name says otherwise. Padding is explicit, so that keys compare as bytes.
 */
#ifndef HEDDLE_BPF_SHARED_ABI_H
#define HEDDLE_BPF_SHARED_ABI_H

#include <linux/types.h>

/* Rises when a pinned map's layout changes; the agent refuses to reuse pins of another version. */
#define HEDDLE_ABI_VERSION 1

#define HEDDLE_MAX_PODS 4096
#define HEDDLE_MAX_POD_ADDRESSES 16384
#define HEDDLE_MAX_SKIP_PORTS 16
#define HEDDLE_MAX_SKIP_CIDRS 16
#define HEDDLE_MAX_TUPLES 65536

/* setsockopt level of heddle's own option, understood by the hook on mesh sockets only. */
#define HEDDLE_SOL 0x6864
/* Value: struct heddle_address. The peer that the app shall see on the socket's next connection; port 0: the mesh. */
#define HEDDLE_SO_CLIENT_ADDRESS 1

struct heddle_address {
	__be32 ip[4];
	__u16 port;
	__u16 pad;
};

struct heddle_port_range {
	__u16 low;
	__u16 high;
};

struct heddle_cidr {
	__be32 base[4];
	__u8 bits; /* of 128; IPv4 prefixes are 96 + n */
	__u8 pad[3];
};

enum heddle_pod_flags {
	HEDDLE_POD_ENROLLED = 1 << 0,	   /* redirect; without it the entry is being made or taken down */
	HEDDLE_POD_FAIL_OPEN = 1 << 1,	   /* the operator's choice: no listener means pass */
	HEDDLE_POD_CLIENT_SOURCE = 1 << 2, /* apps see the client's address */
};

/* Map `pods`, key: netns cookie (__u64). */
struct heddle_pod {
	__u32 id; /* index of counters, key of listeners */
	__u32 flags;
	__be32 ip4[4]; /* v4-mapped address that IPv4 connects are aimed at; zero: the pod has none */
	__be32 ip6[4];
	__u16 outbound_port;
	__u16 inbound_port;
	__u8 skip_outbound_count;
	__u8 skip_inbound_count;
	__u8 skip_cidr_count; /* outbound destinations and inbound sources that are left alone */
	__u8 pad;
	struct heddle_port_range skip_outbound[HEDDLE_MAX_SKIP_PORTS];
	struct heddle_port_range skip_inbound[HEDDLE_MAX_SKIP_PORTS];
	struct heddle_cidr skip_cidrs[HEDDLE_MAX_SKIP_CIDRS];
};

/* Key of the maps `addresses` and `node_addresses`. */
struct heddle_ip_key {
	__be32 ip[4];
};

/* Map `addresses`; sk_lookup may not ask for the netns cookie, so the pod is found by address. */
struct heddle_pod_ref {
	__u64 cookie;
};

/* Maps of in-flight connections, from TCP_CONNECT_CB to PASSIVE_ESTABLISHED. The client's end. */
struct heddle_tuple {
	__u64 cookie; /* netns of the connecting socket */
	__be32 local_ip[4];
	__be32 remote_ip[4];
	__u16 local_port;
	__u16 remote_port;
	__u32 pad;
};

/* Every verdict of every hook, and the index of the per-pod counters (map `verdicts`). */
enum heddle_verdict {
	HEDDLE_V_OUT_REDIRECTED = 0,
	HEDDLE_V_OUT_LOOPBACK, /* the pod's own addresses */
	HEDDLE_V_OUT_SKIP_PORT,
	HEDDLE_V_OUT_SKIP_CIDR,
	HEDDLE_V_OUT_MESH_SOCKET, /* the proxy's own connection */
	HEDDLE_V_OUT_REFUSED,	  /* known dead, or no address of that family to aim at */
	HEDDLE_V_IN_STEERED,
	HEDDLE_V_IN_LOCAL, /* lo, or the pod itself */
	HEDDLE_V_IN_SKIP_PORT,
	HEDDLE_V_IN_SKIP_CIDR,
	HEDDLE_V_IN_PROBE, /* kubelet */
	HEDDLE_V_IN_DROP_NO_LISTENER,
	HEDDLE_V_IN_DROP_UNKNOWN_ADDRESS, /* counted for pod id 0 */
	HEDDLE_V_IN_FAIL_OPEN,
	HEDDLE_V_ORIGINAL_DST_MISSING, /* somebody dialled the outbound listener directly */
	HEDDLE_V_TUPLE_MAP_FULL,
	HEDDLE_V_OUT_FAIL_OPEN, /* passed: no listener, and the operator chose so */
	HEDDLE_V_IN_DROP_SELF,	/* the pod (or the mesh in it) dialled its own inbound listener: a loop */
	HEDDLE_V_COUNT
};

/* Map `verdicts`, key: __u32 pod id, value: this. Pod id 0 collects what belongs to no pod. */
struct heddle_counters {
	__u64 count[HEDDLE_V_COUNT];
};

/* Ring buffer `drops`. */
struct heddle_drop {
	__u64 time_ns; /* CLOCK_MONOTONIC (bpf_ktime_get_ns) */
	__u64 cookie;
	__u32 pod_id;
	__u32 verdict;
	struct heddle_address local;
	struct heddle_address remote;
};

/*
 * Value of sk_storage `mesh_sockets`: the tag of a socket that the agent made for the proxy. Set by descriptor. The
 * setsockopt hook fills in the client.
 */
struct heddle_mesh_socket {
	__u32 pod_id;
	__u32 has_client;
	struct heddle_address client;
};

#ifdef __cplusplus
#define HEDDLE_ASSERT(x) static_assert(x, #x)
#else
#define HEDDLE_ASSERT(x) _Static_assert(x, #x)
#endif
HEDDLE_ASSERT(sizeof(struct heddle_address) == 20);
HEDDLE_ASSERT(sizeof(struct heddle_cidr) == 20);
HEDDLE_ASSERT(sizeof(struct heddle_pod) == 48 + 2 * 16 * 4 + 16 * 20);
HEDDLE_ASSERT(sizeof(struct heddle_tuple) == 48);
HEDDLE_ASSERT(sizeof(struct heddle_drop) == 64);
HEDDLE_ASSERT(sizeof(struct heddle_mesh_socket) == 28);

#endif
