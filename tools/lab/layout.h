// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// Where everything of one lab is. Whatever a lab makes lies below `root` or below `cgroup`, or lives in a
// network namespace bound to a file below `root`: taking a lab down needs no record of what it had got to.
struct LabLayout {
  std::string name;
  std::string root;    // /run/heddle-lab/NAME
  std::string cgroup;  // <cgroup2>/heddle-lab/NAME

  // Errc::invalid_argument for names other than short lower-case words; Errc::unsupported without cgroup v2.
  static Result<LabLayout> of(const std::string& name);

  std::string objects() const { return root + "/objects"; }
  std::string control_state() const { return root + "/control"; }
  std::string tokens() const { return root + "/tokens"; }
  std::string logs() const { return root + "/logs"; }
  std::string bpf() const { return root + "/bpf"; }
  std::string socket() const { return root + "/lab.sock"; }
  std::string netns(const std::string& of) const { return root + "/netns/" + of; }
  std::string node(const std::string& node) const { return root + "/nodes/" + node; }
  std::string run_dir(const std::string& node) const { return root + "/nodes/" + node + "/run"; }
  std::string pod(const std::string& uid) const { return root + "/pods/" + uid; }
  std::string node_cgroup(const std::string& node) const { return cgroup + "/" + node; }
  std::string kubepods(const std::string& node) const { return cgroup + "/" + node + "/kubepods"; }
  std::string system_cgroup(const std::string& node, const std::string& of) const {
    return cgroup + "/" + node + "/system/" + of;
  }
};

// Names of labs that are up or half up.
std::vector<std::string> lab_names();

// Removes a lab however far it got: kills its processes, unmounts, removes cgroups and files. Idempotent. A
// hung process is waited for at most 10 s (Errc::timeout).
Result<> remove_lab(const LabLayout& layout);

}  // namespace heddle::tools
