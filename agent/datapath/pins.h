// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

// The folder of pins on a bpffs:
//   PIN_FOLDER/v1/maps/NAME          maps, by name
//   PIN_FOLDER/v1/links/HOOK-CGROUP  cgroup links, CGROUP is the cgroup's id
//   PIN_FOLDER/v1/netns/COOKIE       sk_lookup links, one per pod
// The first open fills new-PID and renames it to v1: there are all pins or none.
namespace heddle::agent {

// Makes the folder, mounting a bpffs on it unless it is on one (or on /sys/fs/bpf, its usual place).
Result<> make_pin_folder(const std::string& folder);

// Names of the entries of a folder, sorted; none if it does not exist.
std::vector<std::string> entries(const std::string& folder);

// Errc::already_exists when the folder holds pins of another layout; says what to do. Removes what an
// interrupted first open has left.
Result<> check_versions(const std::string& folder);

// PIN_FOLDER/v<HEDDLE_ABI_VERSION>
std::string version_folder(const std::string& folder);

// BPF_OBJ_GET. An empty Fd when there is no such pin.
Result<Fd> open_pin(const std::string& path);
Result<> pin(int fd, const std::string& path);

// Removes a folder of pins and everything in it; links without another holder detach. Not an error if
// missing.
Result<> remove_pins(const std::string& folder);

}  // namespace heddle::agent
