// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "agent/datapath/links.h"
#include "agent/datapath/loader.h"
#include "agent/datapath/pins.h"
#include "agent/datapath/pod_entry.h"
#include "agent/datapath/pod_table.h"
#include "base/io/file.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

// A flood must not keep the thread: whoever sends it may be quicker than the reader.
constexpr int max_drops_per_reading = 256;

Result<> missing(std::string what) {
  return make_error(Errc::not_found, std::move(what));
}

// The entry apart from the switch.
bool same_but_enrolled(heddle_pod a, heddle_pod b) {
  a.flags &= ~static_cast<__u32>(HEDDLE_POD_ENROLLED);
  b.flags &= ~static_cast<__u32>(HEDDLE_POD_ENROLLED);
  return std::memcmp(&a, &b, sizeof a) == 0;
}

Result<> check_listener(const InterceptedPod& pod, int listener) {
  const auto cookie = socket_netns_cookie(listener);
  if (!cookie) return cookie.error();
  if (*cookie != pod.netns_cookie) {
    return make_error(Errc::invalid_argument,
                      "the inbound listener is not in the pod's network namespace: the kernel "
                      "would reset every connection steered to it");
  }
  return {};
}

// During read_drops().
struct DropReading {
  const std::function<void(const DropEvent&)>* each = nullptr;
  int left = 0;
};

class PinnedDatapath : public Datapath {
 public:
  PinnedDatapath(Object object, std::string folder)
      : object_(std::move(object)), table_(object_), folder_(std::move(folder)) {}
  ~PinnedDatapath() override { ring_buffer__free(drops_); }

  Result<> start(const Options& options);

  Result<> prepare(const InterceptedPod& pod, int netns_fd, int inbound_listener) override;
  Result<> set_enrolled(const InterceptedPod& pod, bool enrolled) override;
  Result<> remove(const InterceptedPod& pod) override;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> pods() const override { return table_.list(); }
  bool has(std::uint64_t cookie) const override { return table_.find(cookie).has_value(); }
  bool netns_is_gone(std::uint64_t cookie) const override {
    const auto attached = pinned_netns(netns_pin(cookie));
    return attached && *attached == 0;
  }
  Result<> verify(const InterceptedPod& pod, int netns_fd) const override;
  Result<> tag_socket(int socket, std::uint32_t pod_id) override;
  VerdictCounts counts(std::uint32_t pod_id) const override { return table_.counts(pod_id); }
  int drops_fd() const override { return ring_buffer__epoll_fd(drops_); }
  void read_drops(const std::function<void(const DropEvent&)>& each) override;
  Result<> uninstall() override;

 private:
  std::string versioned() const { return version_folder(folder_); }
  std::string netns_pin(std::uint64_t cookie) const {
    return versioned() + "/netns/" + std::to_string(cookie);
  }
  Result<> fill(const InterceptedPod& pod, const heddle_pod& entry, int netns_fd, int listener);
  Result<> set_node_addresses(const std::vector<IpAddress>& addresses) override;
  Result<> verify_links() const;

  Object object_;
  PodTable table_;
  std::string folder_;
  bool probe_cgroup_known_ = false;
  std::vector<CgroupLink> links_;
  ring_buffer* drops_ = nullptr;
  DropReading reading_;
};

int on_drop(void* context, void* data, std::size_t size) {
  auto& reading = *static_cast<DropReading*>(context);
  heddle_drop drop{};
  if (size >= sizeof drop) {
    std::memcpy(&drop, data, sizeof drop);
    (*reading.each)({static_cast<heddle_verdict>(drop.verdict), drop.pod_id, from_abi(drop.local),
                     from_abi(drop.remote)});
  }
  return --reading.left > 0 ? 0 : -EAGAIN;  // ends this reading; the rest stays in the buffer
}

Result<> PinnedDatapath::start(const Options& options) {
  links_ = planned_links(options);
  drops_ = ring_buffer__new(object_.map("drops"), on_drop, &reading_, nullptr);
  if (drops_ == nullptr) return make_errno(errno, "cannot open the buffer of drops");
  if (auto ok = table_.put_counters(0); !ok) return ok;
  if (auto ok = table_.read_addresses(); !ok) return ok;
  probe_cgroup_known_ = !options.probe_cgroup.empty();
  return set_node_addresses(options.node_addresses);
}

// Exactly the given ones, and none when kubelet's cgroup says it better.
Result<> PinnedDatapath::set_node_addresses(const std::vector<IpAddress>& addresses) {
  const int map = object_.map("node_addresses");
  const auto same = [](const heddle_ip_key& a, const heddle_ip_key& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  };
  std::vector<heddle_ip_key> wanted;
  if (!probe_cgroup_known_) {
    for (const auto& ip : addresses) wanted.push_back(to_key(ip));
  }
  std::vector<heddle_ip_key> gone;
  heddle_ip_key key{};
  for (void* last = nullptr; bpf_map_get_next_key(map, last, &key) == 0; last = &key) {
    if (std::none_of(wanted.begin(), wanted.end(), [&](const auto& kept) { return same(kept, key); }))
      gone.push_back(key);
  }
  for (const auto& old : gone) bpf_map_delete_elem(map, &old);
  const __u32 yes = 1;
  for (const auto& fresh : wanted) {
    if (bpf_map_update_elem(map, &fresh, &yes, BPF_ANY) != 0) {
      return make_errno(errno, "cannot write an address of the node into its map");
    }
  }
  return {};
}

Result<> PinnedDatapath::fill(const InterceptedPod& pod, const heddle_pod& entry, int netns_fd,
                              int listener) {
  if (auto ok = table_.put_counters(pod.id); !ok) return ok;
  if (auto ok = table_.put_listener(pod.id, listener); !ok) return ok;
  if (auto ok = table_.put(pod.netns_cookie, entry); !ok) return ok;
  if (auto ok = table_.put_addresses(pod.netns_cookie, pod.addresses); !ok) return ok;
  // Last: attached to a netns whose addresses it does not know, the program drops everything.
  return place_netns_link(object_, netns_fd, netns_pin(pod.netns_cookie));
}

Result<> PinnedDatapath::prepare(const InterceptedPod& pod, int netns_fd, int inbound_listener) {
  auto entry = to_entry(pod);
  if (!entry) return entry.error();
  if (auto ok = check_listener(pod, inbound_listener); !ok) return ok;
  const auto before = table_.find(pod.netns_cookie);
  // A pod that is enrolled stays so while its entry is renewed: there is no instant without redirection.
  if (before) entry->flags |= before->flags & HEDDLE_POD_ENROLLED;
  if (auto ok = fill(pod, *entry, netns_fd, inbound_listener); !ok) {
    if (!before) {
      if (auto undone = remove(pod); !undone) return undone;
    }
    return ok;
  }
  if (before && before->id != pod.id) table_.erase_listener_and_counters(before->id);
  return {};
}

Result<> PinnedDatapath::set_enrolled(const InterceptedPod& pod, bool enrolled) {
  auto entry = table_.find(pod.netns_cookie);
  if (!entry) return missing("the pod has no map entry; it has to be prepared first");
  const auto bit = static_cast<__u32>(HEDDLE_POD_ENROLLED);
  entry->flags = enrolled ? entry->flags | bit : entry->flags & ~bit;
  return table_.put(pod.netns_cookie, *entry);
}

// Un-redirects first; the listeners are closed by their owners afterwards.
Result<> PinnedDatapath::remove(const InterceptedPod& pod) {
  const auto entry = table_.find(pod.netns_cookie);
  const std::string link = netns_pin(pod.netns_cookie);
  if (entry) {
    if (auto ok = set_enrolled(pod, false); !ok) return ok;
  }
  // The pinned file may be the last holder of the link, but its end is the kernel's to schedule: detach at
  // once.
  auto fd = open_pin(link);
  if (!fd) return fd.error();
  if (*fd) bpf_link_detach(fd->get());
  if (::unlink(link.c_str()) != 0 && errno != ENOENT)
    return make_errno(errno, "cannot remove the pin " + link);
  table_.erase_addresses(pod.netns_cookie);
  table_.erase(pod.netns_cookie);
  table_.erase_listener_and_counters(entry ? entry->id : pod.id);
  return {};
}

Result<> PinnedDatapath::verify_links() const {
  for (const auto& link : links_) {
    const auto name = link_name(link);
    if (!name) return name.error();
    const auto cgroup = pinned_cgroup(versioned() + "/links/" + *name);
    if (!cgroup) return cgroup.error();
    if (*cgroup == 0) return missing("the program " + link.hook + " is detached from " + link.cgroup);
  }
  return {};
}

Result<> PinnedDatapath::verify(const InterceptedPod& pod, int netns_fd) const {
  const auto expected = to_entry(pod);
  if (!expected) return expected.error();
  const auto entry = table_.find(pod.netns_cookie);
  if (!entry) return missing("the pod has no map entry");
  if (!same_but_enrolled(*entry, *expected))
    return missing("the pod's map entry is not what the pod's settings ask for");
  if ((entry->flags & HEDDLE_POD_ENROLLED) == 0) return missing("the pod is not marked enrolled");
  for (const auto& ip : pod.addresses) {
    if (!table_.owns(pod.netns_cookie, ip))
      return missing("the pod's address " + ip.to_string() + " is not in the map");
  }
  if (!table_.has_listener(pod.id)) return missing("the pod's inbound listener is not in the map, or closed");
  struct stat netns{};
  if (::fstat(netns_fd, &netns) != 0) return make_errno(errno, "cannot inspect the network namespace");
  const auto attached = pinned_netns(netns_pin(pod.netns_cookie));
  if (!attached) return attached.error();
  if (*attached != netns.st_ino) return missing("sk_lookup is not attached to the pod's network namespace");
  return verify_links();
}

Result<> PinnedDatapath::tag_socket(int socket, std::uint32_t pod_id) {
  heddle_mesh_socket tag{};
  tag.pod_id = pod_id;
  if (bpf_map_update_elem(object_.map("mesh_sockets"), &socket, &tag, BPF_ANY) == 0) return {};
  return make_errno(errno, "cannot tag a socket as the mesh's own");
}

void PinnedDatapath::read_drops(const std::function<void(const DropEvent&)>& each) {
  reading_ = {&each, max_drops_per_reading};
  ring_buffer__consume(drops_);
  reading_ = {};
}

Result<> PinnedDatapath::uninstall() {
  for (const char* part : {"/links", "/netns"}) {
    for (const auto& name : entries(versioned() + part)) {
      auto fd = open_pin(versioned() + part + "/" + name);
      if (fd && *fd) bpf_link_detach(fd->get());
    }
  }
  if (auto ok = remove_pins(versioned()); !ok) return ok;
  ::rmdir(folder_.c_str());  // stays when it is a mount point or holds more
  return {};
}

// The pinned maps of a version folder, by name.
Object::FindMap maps_in(const std::string& folder) {
  return [folder](const std::string& name) { return open_pin(folder + "/maps/" + name); };
}

Result<> pin_missing_maps(const Object& object, const std::string& folder) {
  for (const char* name : pinned_maps) {
    const std::string path = folder + "/maps/" + name;
    if (::access(path.c_str(), F_OK) == 0) continue;
    if (auto ok = pin(object.map(name), path); !ok) return ok;
  }
  return {};
}

Result<> make_version_folder(const std::string& folder) {
  for (const char* part : {"", "/maps", "/links", "/netns"}) {
    if (auto ok = make_directories(folder + part, 0700); !ok) return ok;
  }
  return {};
}

// Pins and attaches in `folder`: the final one, or one to be renamed.
Result<> place(const Object& object, const Datapath::Options& options, const std::string& folder) {
  if (auto ok = make_version_folder(folder); !ok) return ok;
  if (auto ok = pin_missing_maps(object, folder); !ok) return ok;
  if (auto ok = place_cgroup_links(object, planned_links(options), folder + "/links"); !ok) return ok;
  return refresh_netns_links(object, folder + "/netns");
}

Result<> place_fresh(const Object& object, const Datapath::Options& options) {
  const std::string staging = options.pin_folder + "/new-" + std::to_string(::getpid());
  auto placed = place(object, options, staging);
  if (placed) {
    if (std::rename(staging.c_str(), version_folder(options.pin_folder).c_str()) == 0) return {};
    placed = make_errno(errno, "cannot rename " + staging);
  }
  if (auto ok = remove_pins(staging); !ok) return ok;
  return placed;
}

}  // namespace

Result<std::unique_ptr<Datapath>> Datapath::open(const Options& options) {
  if (auto ok = make_pin_folder(options.pin_folder); !ok) return ok.error();
  // Two agents of one node overlap during an upgrade.
  const Fd lock(::open(options.pin_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0)
    return make_errno(errno, "cannot lock " + options.pin_folder);
  if (auto ok = check_versions(options.pin_folder); !ok) return ok.error();
  const std::string folder = version_folder(options.pin_folder);
  const bool present = ::access(folder.c_str(), F_OK) == 0;
  auto object = Object::load(maps_in(folder));
  if (!object) return object.error();
  auto placed = present ? place(*object, options, folder) : place_fresh(*object, options);
  if (!placed) return placed.error();
  auto datapath = std::make_unique<PinnedDatapath>(std::move(*object), options.pin_folder);
  if (auto ok = datapath->start(options); !ok) return ok.error();
  return Result<std::unique_ptr<Datapath>>(std::move(datapath));
}

}  // namespace heddle::agent
