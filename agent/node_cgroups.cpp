// SPDX-License-Identifier: Apache-2.0
#include "agent/node_cgroups.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "agent/kubelet_cgroup.h"
#include "agent/pods/pod_cgroup.h"
#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "base/log.h"

namespace heddle::agent {
namespace {

bool is_folder(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool has_processes(const std::string& cgroup) {
  const auto events = read_file(cgroup + "/cgroup.events", 4096);
  return events && events->find("populated 1") != std::string::npos;
}

std::vector<std::string> folders_in(const std::string& path) {
  std::vector<std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_directory(error)) out.push_back(it->path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// The outer ones first.
std::vector<std::string> candidates(const std::string& mount) {
  std::vector<std::string> outer;
  std::vector<std::string> inner;
  for (const auto& name : folders_in(mount)) {
    if (is_pods_cgroup_name(name)) {
      outer.push_back(mount + "/" + name);
      continue;
    }
    for (const auto& below : folders_in(mount + "/" + name)) {
      if (is_pods_cgroup_name(below)) inner.push_back(mount + "/" + name + "/" + below);
    }
  }
  outer.insert(outer.end(), inner.begin(), inner.end());
  return outer;
}

Result<std::string> make_as_in_v1(const std::string& mount, std::string_view mountinfo) {
  for (const auto& v1 : find_cgroup1_mounts(mountinfo)) {
    for (const char* name : {"/kubepods", "/kubepods.slice"}) {
      if (!is_folder(v1 + name)) continue;
      if (::mkdir((mount + name).c_str(), 0755) == 0 || errno == EEXIST) return mount + name;
      return make_errno(errno, "cannot make the pods' cgroup " + mount + name + " beside " + v1 + name);
    }
  }
  return make_error(Errc::not_found, "no cgroup of pods (kubepods, kubepods.slice) exists below " + mount +
                                         ": the kubelet makes it when it starts; name another with "
                                         "--pods-cgroup");
}

Result<std::string> mesh_cgroup() {
  const auto mount = cgroup2_mount();
  if (!mount) return mount.error();
  return cgroup2_folder(*mount, ::getpid());
}

std::string probe_cgroup(const std::string& option, const std::string& mount, const std::string& pods) {
  if (option != "auto") return option == "none" ? std::string() : option;
  auto found = find_kubelet_cgroup(mount, pods);
  if (found) {
    spdlog::info("probes pass that come from the kubelet's cgroup path={}", *found);
    return *found;
  }
  spdlog::info("probes pass that come from the node's addresses reason=\"{}\"", found.error().message());
  return {};
}

}  // namespace

Result<std::string> find_pods_cgroup(const std::string& mount, const std::string& mesh_cgroup,
                                     std::string_view mountinfo) {
  if (mesh_cgroup.starts_with(mount + "/")) {
    const auto part = pods_cgroup_part(std::string_view(mesh_cgroup).substr(mount.size()));
    if (!part.empty()) return mount + std::string(part);
  }
  const auto all = candidates(mount);
  if (all.empty()) return make_as_in_v1(mount, mountinfo);
  const auto used = std::find_if(all.begin(), all.end(), has_processes);
  return used == all.end() ? all.front() : *used;
}

Result<> find_node_cgroups(const CgroupChoice& choice, Datapath::Options& out) {
  const auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) return mountinfo.error();
  const auto mount = find_cgroup2_mount(*mountinfo);
  if (!mount) return mount.error();
  auto mesh = mesh_cgroup();
  if (!mesh) return mesh.error();
  if (choice.pods != "auto" && !is_folder(choice.pods))
    return make_error(Errc::not_found, "--pods-cgroup " + choice.pods + " is no folder");
  auto pods = choice.pods == "auto" ? find_pods_cgroup(*mount, *mesh, *mountinfo) : choice.pods;
  if (!pods) return pods.error();
  out.mesh_cgroup = std::move(*mesh);
  out.pods_cgroup = std::move(*pods);
  out.probe_cgroup = probe_cgroup(choice.probe, *mount, out.pods_cgroup);
  return {};
}

std::string mesh_cgroup_of_rules() {
  const auto mount = cgroup2_mount();
  const auto own = mesh_cgroup();
  if (!mount || !own || !in_initial_cgroup_namespace()) return {};
  return own->substr(mount->size());
}

}  // namespace heddle::agent
