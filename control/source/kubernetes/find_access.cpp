// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/find_access.h"

#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <vector>

#include "base/io/file.h"
#include "control/source/base64.h"
#include "control/source/kubernetes/credentials.h"

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

constexpr const char* pods_folder = "/var/run/secrets/kubernetes.io/serviceaccount";

// Where the person's own configuration is; empty: there is none.
std::string home_config() {
  const std::string home = environment("HOME");
  std::string path = home.empty() ? std::string() : home + "/.kube/config";
  if (path.empty() || ::access(path.c_str(), F_OK) != 0) path.clear();
  return path;
}

// What a plugin may be told of the cluster (spec.cluster of an ExecCredential).
Result<std::string> cluster_of(const Access& access) {
  const bool v6 = access.host.find(':') != std::string::npos;
  boost::json::object out;
  out["server"] = "https://" + (v6 ? "[" + access.host + "]" : access.host) + ":" +
                  std::to_string(access.port) + access.path_prefix;
  if (access.server_name != access.host) out["tls-server-name"] = access.server_name;
  if (access.skip_verification) out["insecure-skip-tls-verify"] = true;
  std::string authority = access.authority.text;
  if (authority.empty() && !access.authority.path.empty()) {
    auto read = read_file(access.authority.path);
    if (!read) return read.error();
    authority = std::move(*read);
  }
  if (!authority.empty()) out["certificate-authority-data"] = to_base64(authority);
  return boost::json::serialize(out);
}

// The program that gives credentials is kept from one reading to the next, with what it gave, while the
// kubeconfig says the same of it and of the cluster.
class Kept {
 public:
  Result<> adopt(Access& access) {
    if (!access.plugin) return {};
    auto cluster = cluster_of(access);
    if (!cluster) return cluster.error();
    const std::lock_guard lock(mutex_);
    if (!credentials_ || plugin_ != access.plugin || cluster_ != *cluster) {
      credentials_ = std::make_shared<Credentials>(*access.plugin, *cluster);
      plugin_ = access.plugin;
      cluster_ = std::move(*cluster);
    }
    access.credentials = credentials_;
    return {};
  }

 private:
  std::mutex mutex_;
  std::optional<ExecPlugin> plugin_;
  std::string cluster_;
  std::shared_ptr<Credentials> credentials_;
};

Result<Access> access_of_files_again(const std::vector<std::string>& paths, bool all_needed,
                                     const std::string& context, bool allow_insecure) {
  const auto kept = std::make_shared<Kept>();
  const auto read = [=]() -> Result<Access> {
    auto access = access_of_files(paths, all_needed, context, allow_insecure);
    if (!access) return access;
    if (auto adopted = kept->adopt(*access); !adopted) return adopted.error();
    return access;
  };
  auto access = read();
  if (access) access->read_again = read;
  return access;
}

}  // namespace

Result<Access> find_access(const std::string& kubeconfig, const std::string& context, bool allow_insecure) {
  if (!kubeconfig.empty()) return access_of_files_again({kubeconfig}, true, context, allow_insecure);
  if (const auto paths = split(environment("KUBECONFIG")); !paths.empty()) {
    return access_of_files_again(paths, false, context, allow_insecure);
  }
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  const std::string home = home_config();
  if (host.empty() && !home.empty()) return access_of_files_again({home}, true, context, allow_insecure);
  return in_cluster_access(host, environment("KUBERNETES_SERVICE_PORT"), pods_folder);
}

}  // namespace heddle::source::kubernetes
