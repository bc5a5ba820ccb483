// SPDX-License-Identifier: Apache-2.0
#include "control/source/source.h"

#include "control/source/folder.h"

namespace heddle::source {

Result<std::unique_ptr<Source>> make_source(std::string_view spec) {
  constexpr std::string_view folder = "folder:";
  if (spec.starts_with(folder) && spec.size() > folder.size()) {
    return make_folder_source(std::string(spec.substr(folder.size())));
  }
  return make_error(Errc::invalid_argument,
                    "unknown source '" + std::string(spec) +
                        "': use folder:PATH, a folder of Kubernetes YAML (heddle-control also: kubernetes)");
}

}  // namespace heddle::source
