// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// How a lab is run; kept in ROOT/lab.json for the lab's daemon.
struct LabOptions {
  std::string name = "lab";
  std::string folder;  // of Kubernetes objects, absolute
  bool mesh = true;    // false: no heddle program and no heddle-cni in the chain
  std::string interception = "auto";
  std::string default_inject = "disabled";
  std::string bin_dir;  // where heddle's programs are; empty: found (find_program)
  std::vector<std::string> cni_bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
  std::string log_level = "info";
  std::map<std::string, std::vector<std::string>> extra_flags;  // by program: agent, proxy, control
};

boost::json::object to_json(const LabOptions& options);
LabOptions lab_options_from(const boost::json::object& object);

// Path of one of heddle's programs: in `bin_dir`, else beside the running program, else in ../libexec/heddle
// of it, else /usr/libexec/heddle. Errc::not_found says what to build.
Result<std::string> find_program(const std::string& name, const std::string& bin_dir);

// The path of the running program itself.
std::string own_program();

}  // namespace heddle::tools
