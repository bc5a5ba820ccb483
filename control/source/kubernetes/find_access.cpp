// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/find_access.h"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <vector>

#include "base/io/file.h"

namespace heddle::source::kubernetes {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::vector<std::string> split(const std::string& paths) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= paths.size();) {
    const auto end = std::min(paths.find(':', at), paths.size());
    if (end > at) out.push_back(paths.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

Result<Kubeconfig> read_one(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  const auto slash = path.rfind('/');
  auto config = Kubeconfig::parse(*text, slash == std::string::npos ? "." : path.substr(0, slash));
  if (!config) return make_error(Errc::invalid_argument, "kubeconfig " + path + ": " + config.error().detail);
  return config;
}

Result<Access> access_of_files(const std::vector<std::string>& paths, bool all_needed,
                               const std::string& context, bool allow_insecure) {
  std::optional<Kubeconfig> merged;
  for (const std::string& path : paths) {
    if (!all_needed && ::access(path.c_str(), F_OK) != 0) continue;
    auto config = read_one(path);
    if (!config) return config.error();
    if (merged) {
      merged->merge(std::move(*config));
    } else {
      merged = std::move(*config);
    }
  }
  if (!merged) return make_error(Errc::not_found, "KUBECONFIG names no file that exists: give --kubeconfig");
  return merged->access(context, allow_insecure);
}

}  // namespace

Result<Access> find_access(const std::string& kubeconfig, const std::string& context, bool allow_insecure) {
  if (!kubeconfig.empty()) return access_of_files({kubeconfig}, true, context, allow_insecure);
  if (const auto paths = split(environment("KUBECONFIG")); !paths.empty()) {
    return access_of_files(paths, false, context, allow_insecure);
  }
  return in_cluster_access(environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT"),
                           "/var/run/secrets/kubernetes.io/serviceaccount");
}

}  // namespace heddle::source::kubernetes
