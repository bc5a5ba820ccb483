// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "control/source/source.h"

namespace heddle::source {

// Kubernetes' objects in the files of a folder: *.yaml, *.yml and *.json, not in its subfolders; several
// documents per file; List kinds are expanded; kinds heddle does not read are ignored. Changes are seen by
// inotify(7) a few milliseconds after a file is closed, renamed in or removed. Replace files by renaming (as
// write_file_atomically and kubelet's ConfigMap volumes do): a reader then never sees half a file. A file
// that cannot be read or parsed keeps its last good objects, is counted, and is logged once with its line
// until it changes.
std::unique_ptr<Source> make_folder_source(std::string path);

}  // namespace heddle::source
