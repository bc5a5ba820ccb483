// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"
#include "bpf/shared/abi.h"

namespace heddle::agent {

// What a pod's interception needs to know, whatever carries it out. Facts, already validated.
struct InterceptedPod {
  std::uint32_t id = 0;
  std::uint64_t netns_cookie = 0;
  std::vector<IpAddress> addresses;  // every address of the pod
  std::uint16_t outbound_port = 0;
  std::uint16_t inbound_port = 0;
  std::vector<PortRange> skip_outbound_ports;  // at most HEDDLE_MAX_SKIP_PORTS after merging
  std::vector<PortRange> skip_inbound_ports;
  std::vector<Cidr> skip_cidrs;
  bool fail_open = false;
  bool client_source = true;
};

struct DropEvent {
  heddle_verdict verdict;
  std::uint32_t pod_id;
  SocketAddress local;
  SocketAddress remote;
};

// One hook's result of really loading and attaching it (never of version numbers).
struct HookProbe {
  std::string hook;  // "connect4", "sk_lookup", ...
  bool usable = false;
  std::string reason;  // why not, the verifier's or the kernel's words
};

using VerdictCounts = std::array<std::uint64_t, HEDDLE_V_COUNT>;

// The eBPF interception: one object, its pinned links and maps. Owned by the agent's main thread; no member
// is thread-safe. Killing the process leaves everything pinned and working; open() takes it over.
class Datapath {
 public:
  struct Options {
    std::string pin_folder;    // on a bpffs, e.g. /sys/fs/bpf/heddle; bpffs is mounted there if it is not one
    std::string pods_cgroup;   // absolute path; connect, getpeername and sockops go here
    std::string mesh_cgroup;   // absolute path, where listeners and mesh sockets are made (the agent's own)
    std::string probe_cgroup;  // absolute path of kubelet's cgroup; empty: none
    std::vector<IpAddress> node_addresses;  // sources allowed past the proxy when no probe_cgroup is known
  };

  // Loads and attaches each hook to a throw-away cgroup and netns. Never touches pins.
  static std::vector<HookProbe> probe();

  // Loads the object, reuses pinned maps of the same HEDDLE_ABI_VERSION, attaches or updates the pinned links
  // (bpf_link_update: no instant without a program). Pins of another version are an error that says what to
  // do.
  static Result<std::unique_ptr<Datapath>> open(const Options& options);
  virtual ~Datapath() = default;

  // Puts the pod's config, addresses and inbound listener in the maps and attaches sk_lookup to its netns
  // (pinned). Idempotent. Not yet redirecting. Undone by itself on failure.
  virtual Result<> prepare(const InterceptedPod& pod, int netns_fd, int inbound_listener) = 0;
  // The switch: from here on the pod's connects are redirected (and inbound was since prepare()).
  virtual Result<> set_enrolled(const InterceptedPod& pod, bool enrolled) = 0;
  // Reverse of prepare(); idempotent, works when the netns is gone.
  virtual Result<> remove(const InterceptedPod& pod) = 0;
  // Pods in the pinned maps (after a restart): cookie and id.
  virtual std::vector<std::pair<std::uint64_t, std::uint32_t>> pods() const = 0;
  // Whether one of them has this cookie.
  virtual bool has(std::uint64_t cookie) const = 0;
  // Whether a pod was prepared here whose netns has ended since: nobody at all holds it any more.
  virtual bool netns_is_gone(std::uint64_t cookie) const = 0;
  // CHECK: Errc::not_found with a sentence for the first thing that is missing.
  virtual Result<> verify(const InterceptedPod& pod, int netns_fd) const = 0;

  // Replaces Options::node_addresses: an address that stays never stops passing.
  virtual Result<> set_node_addresses(const std::vector<IpAddress>& addresses) = 0;

  // Tags a socket as the mesh's own: exempt from redirection, and its address option is honoured.
  virtual Result<> tag_socket(int socket, std::uint32_t pod_id) = 0;

  virtual VerdictCounts counts(std::uint32_t pod_id) const = 0;
  // Readable as long as drops wait; read_drops() calls back for each of at most 256.
  virtual int drops_fd() const = 0;
  virtual void read_drops(const std::function<void(const DropEvent&)>& each) = 0;

  // Takes everything down (uninstall): links, then maps, then the folder.
  virtual Result<> uninstall() = 0;
};

const char* verdict_name(heddle_verdict verdict);

}  // namespace heddle::agent
