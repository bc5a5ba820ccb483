/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decisions of the hooks as plain C over abi.h: no helper, no context, no map. The unit tests compile this file
 * for the host; the BPF object compiles it for the kernel.
 */
#ifndef HEDDLE_BPF_DECIDE_H
#define HEDDLE_BPF_DECIDE_H

#include "bpf/shared/abi.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HEDDLE_BE32(x) ((__be32)__builtin_bswap32(x))
#else
#define HEDDLE_BE32(x) ((__be32)(x))
#endif

static __always_inline void heddle_map_v4(__be32 *ip, __be32 v4)
{
	ip[0] = 0;
	ip[1] = 0;
	ip[2] = HEDDLE_BE32(0xffff);
	ip[3] = v4;
}

static __always_inline int heddle_is_v4(const __be32 *ip)
{
	return ip[0] == 0 && ip[1] == 0 && ip[2] == HEDDLE_BE32(0xffff);
}

static __always_inline int heddle_same_ip(const __be32 *a, const __be32 *b)
{
	/* Not __builtin_memcmp: clang turns 16 bytes of it into an extern call. */
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* 127/8, ::1, and the unspecified address, which connect(2) takes for loopback. */
static __always_inline int heddle_is_loopback(const __be32 *ip)
{
	if (heddle_is_v4(ip))
		return ip[3] == 0 || (ip[3] & HEDDLE_BE32(0xff000000)) == HEDDLE_BE32(0x7f000000);
	return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && (ip[3] == 0 || ip[3] == HEDDLE_BE32(1));
}

static __always_inline int heddle_port_listed(const struct heddle_port_range *list, __u32 count, __u16 port)
{
	for (__u32 i = 0; i < HEDDLE_MAX_SKIP_PORTS && i < count; i++) {
		if (port >= list[i].low && port <= list[i].high)
			return 1;
	}
	return 0;
}

/* One word of a prefix: how its `bits` (of 128) fall on word `index`. */
static __always_inline __be32 heddle_prefix_mask(__u32 bits, __u32 index)
{
	__u32 before = index * 32;

	if (bits >= before + 32)
		return 0xffffffff;
	if (bits <= before)
		return 0;
	return HEDDLE_BE32(0xffffffffu << (before + 32 - bits));
}

static __always_inline int heddle_cidr_contains(const struct heddle_cidr *cidr, const __be32 *ip)
{
	__u32 bits = cidr->bits;

	return ((ip[0] ^ cidr->base[0]) & heddle_prefix_mask(bits, 0)) == 0 &&
	       ((ip[1] ^ cidr->base[1]) & heddle_prefix_mask(bits, 1)) == 0 &&
	       ((ip[2] ^ cidr->base[2]) & heddle_prefix_mask(bits, 2)) == 0 &&
	       ((ip[3] ^ cidr->base[3]) & heddle_prefix_mask(bits, 3)) == 0;
}

static __always_inline int heddle_cidr_listed(const struct heddle_pod *pod, const __be32 *ip)
{
	for (__u32 i = 0; i < HEDDLE_MAX_SKIP_CIDRS && i < pod->skip_cidr_count; i++) {
		if (heddle_cidr_contains(&pod->skip_cidrs[i], ip))
			return 1;
	}
	return 0;
}

/* The pod's address that a connect to `ip` is aimed at; one of all zeros means that the pod has none. */
static __always_inline const __be32 *heddle_aim(const struct heddle_pod *pod, const __be32 *ip)
{
	return heddle_is_v4(ip) ? pod->ip4 : pod->ip6;
}

/*
 * A connect of an enrolled pod that is not to itself. REFUSED: there is no address of that family to aim at; letting
 * it pass would be a way around the proxy.
 */
static __always_inline enum heddle_verdict heddle_decide_outbound(const struct heddle_pod *pod, const __be32 *ip,
								  __u16 port)
{
	const __be32 *aim;

	if (heddle_port_listed(pod->skip_outbound, pod->skip_outbound_count, port))
		return HEDDLE_V_OUT_SKIP_PORT;
	if (heddle_cidr_listed(pod, ip))
		return HEDDLE_V_OUT_SKIP_CIDR;
	aim = heddle_aim(pod, ip);
	if ((aim[0] | aim[1] | aim[2] | aim[3]) == 0)
		return HEDDLE_V_OUT_REFUSED;
	return HEDDLE_V_OUT_REDIRECTED;
}

/* A SYN from outside the pod, not a known probe. */
static __always_inline enum heddle_verdict heddle_decide_inbound(const struct heddle_pod *pod, __u16 local_port,
								 const __be32 *remote)
{
	if (heddle_port_listed(pod->skip_inbound, pod->skip_inbound_count, local_port))
		return HEDDLE_V_IN_SKIP_PORT;
	if (heddle_cidr_listed(pod, remote))
		return HEDDLE_V_IN_SKIP_CIDR;
	return HEDDLE_V_IN_STEERED;
}

#endif
