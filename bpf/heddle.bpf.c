/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heddle's BPF object: one program per hook, all on the maps of maps.h.
 *
 *   connect4|6      pods' cgroup       a pod's connect is aimed at its own outbound listener
 *   sockops         pods' cgroup       the destination is published
 *   getsockopt      mesh cgroup        the proxy asks for it, SO_ORIGINAL_DST
 *   getsockname4|6  mesh cgroup        and, without an answer, once more
 *   setsockopt      mesh cgroup        the proxy names the client it connects for
 *   getpeername4|6  pods' cgroup       apps see the peer they mean
 *   sk_lookup       each pod's netns   what arrives goes to the inbound listener
 *   probe_sockops   kubelet's cgroup   its connections pass sk_lookup
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>

#define AF_INET 2
#define AF_INET6 10

#include "bpf/hooks/connect4.h"
#include "bpf/hooks/connect6.h"
#include "bpf/hooks/getpeername.h"
#include "bpf/hooks/getsockname.h"
#include "bpf/hooks/getsockopt.h"
#include "bpf/hooks/probe_sockops.h"
#include "bpf/hooks/setsockopt.h"
#include "bpf/hooks/sk_lookup.h"
#include "bpf/hooks/sockops.h"

/* None of the helpers used is reserved for GPL programs. */
char LICENSE[] SEC("license") = "Apache-2.0";
