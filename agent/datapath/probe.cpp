// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "agent/datapath/datapath.h"
#include "agent/datapath/loader.h"
#include "base/fd.h"
#include "base/io/cgroup.h"

namespace heddle::agent {
namespace {

// A network namespace nobody lives in; it ends with its descriptor.
Result<Fd> throwaway_netns() {
  Result<Fd> out = make_error(Errc::internal, "the thread did not run");
  std::thread([&out] {
    if (::unshare(CLONE_NEWNET) != 0) {
      out = make_errno(errno, "cannot make a network namespace");
      return;
    }
    Fd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (fd) {
      out = std::move(fd);
    } else {
      out = make_errno(errno, "cannot open /proc/thread-self/ns/net");
    }
  }).join();
  return out;
}

// A cgroup without a process, removed on destruction.
class ThrowawayCgroup {
 public:
  static Result<ThrowawayCgroup> make() {
    auto mount = cgroup2_mount();
    if (!mount) return mount.error();
    std::string path = *mount + "/heddle-probe-" + std::to_string(::getpid());
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
      return make_errno(errno, "cannot make the cgroup " + path);
    return ThrowawayCgroup(std::move(path));
  }
  ThrowawayCgroup(ThrowawayCgroup&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ThrowawayCgroup& operator=(ThrowawayCgroup&&) = delete;
  ~ThrowawayCgroup() {
    if (!path_.empty()) ::rmdir(path_.c_str());
  }

  Result<Fd> open() const {
    Fd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return make_errno(errno, "cannot open the cgroup " + path_);
    return fd;
  }

 private:
  explicit ThrowawayCgroup(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Result<Fd> throwaway_target(std::string_view hook, const Result<ThrowawayCgroup>& cgroup) {
  if (hook == "sk_lookup") return throwaway_netns();
  if (!cgroup) return cgroup.error();
  return cgroup->open();
}

HookProbe probe_hook(std::string_view hook, const Result<ThrowawayCgroup>& cgroup) {
  HookProbe out{std::string(hook), false, {}};
  auto object = Object::load_only(hook);
  if (!object) {
    out.reason = "load: " + object.error().message();
    return out;
  }
  auto target = throwaway_target(hook, cgroup);
  if (!target) {
    out.reason = target.error().message();
    return out;
  }
  const Fd link(bpf_link_create(object->program(hook), target->get(),
                                static_cast<bpf_attach_type>(attach_type(hook)), nullptr));
  if (!link) {
    out.reason = "attach: " + make_errno(errno).message();
    return out;
  }
  out.usable = true;
  return out;
}

}  // namespace

std::vector<HookProbe> Datapath::probe() {
  std::vector<HookProbe> out;
  const auto cgroup = ThrowawayCgroup::make();
  for (const char* hook : all_hooks) out.push_back(probe_hook(hook, cgroup));
  return out;
}

}  // namespace heddle::agent
