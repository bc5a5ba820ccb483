// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pins.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/io/file.h"
#include "bpf/shared/abi.h"

namespace heddle::agent {
namespace {

bool on_bpffs(const std::string& path) {
  struct statfs info{};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

Result<> mount_bpffs(const std::string& path) {
  if (::mount("bpffs", path.c_str(), "bpf", 0, "mode=0700") == 0) return {};
  return make_errno(
      errno, "cannot mount a bpffs at " + path + "; mount one there with `mount -t bpf bpffs " + path + "`");
}

}  // namespace

Result<> make_pin_folder(const std::string& folder) {
  const std::string usual = "/sys/fs/bpf";
  const bool below_usual = folder.starts_with(usual + "/");
  if (below_usual && !on_bpffs(usual)) {
    if (auto ok = mount_bpffs(usual); !ok) return ok;
  }
  if (auto ok = make_directories(folder, 0700); !ok) return ok;
  return on_bpffs(folder) ? Result<>{} : mount_bpffs(folder);
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

std::string version_folder(const std::string& folder) {
  return folder + "/v" + std::to_string(HEDDLE_ABI_VERSION);
}

Result<> check_versions(const std::string& folder) {
  const std::string own = "v" + std::to_string(HEDDLE_ABI_VERSION);
  for (const auto& name : entries(folder)) {
    if (name == own) continue;
    if (name.starts_with("new-")) {
      if (auto ok = remove_pins(folder + "/" + name); !ok) return ok;
      continue;
    }
    return make_error(
        Errc::already_exists,
        folder + " holds pins of layout " + name + ", this agent knows " + own +
            "; run `heddle-agent --uninstall` of the version that made them (pods of this node are "
            "unmeshed until they are enrolled again), or choose another --pin-folder");
  }
  return {};
}

Result<Fd> open_pin(const std::string& path) {
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd && errno != ENOENT) return make_errno(errno, "cannot open the pin " + path);
  return fd;
}

Result<> pin(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()) == 0) return {};
  return make_errno(errno, "cannot pin " + path);
}

Result<> remove_pins(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) return make_errno(error.value(), "cannot remove the pins in " + folder);
  return {};
}

}  // namespace heddle::agent
