// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/uninstall.h"

#include <iostream>
#include <thread>

#include "tools/commands/command.h"
#include "tools/deploy/cluster.h"
#include "tools/deploy/manifest.h"
#include "tools/deploy/remove.h"
#include "tools/deploy/values.h"
#include "tools/http/query.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds look_again{500};

class ClusterDoor final : public RemovalDoor {
 public:
  ClusterDoor(Cluster& cluster, Clock::time_point deadline) : cluster_(cluster), deadline_(deadline) {}

  Result<bool> remove(const std::string& path) override { return there(cluster_.remove(path)); }
  Result<bool> exists(const std::string& path) override { return there(cluster_.get(path)); }
  bool pause() override {
    if (Clock::now() >= deadline_) return false;
    std::this_thread::sleep_for(look_again);
    return true;
  }

 private:
  static Result<bool> there(const Result<json::object>& answer) {
    if (answer) return true;
    if (answer.error().code == make_error_code(Errc::not_found)) return false;
    return answer.error();
  }

  Cluster& cluster_;
  Clock::time_point deadline_;
};

// With what was chosen at the installation, as far as this version knows it.
Result<json::object> values_of(Cluster& cluster, const std::string& ns, const json::object& chosen) {
  auto values = default_values();
  if (!values) return values.error();
  const auto map =
      cluster.get("/api/v1/namespaces/" + query_escape(ns) + "/configmaps/" + std::string(choice_name));
  if (!map && map.error().code != make_error_code(Errc::not_found)) return map.error();
  if (map) {
    auto with = *values;
    if (const auto installed = installed_from(json::serialize(*map))) lay_over(with, installed->chosen);
    if (check_values(with)) *values = std::move(with);
  }
  lay_over(*values, chosen);
  set_path(*values, "namespace", json::value(ns));
  if (auto ok = check_values(*values); !ok) return ok.error();
  return values;
}

}  // namespace

int apply_uninstall(const ClusterFlags& flags, const json::object& chosen, std::chrono::seconds timeout) {
  auto cluster = Cluster::open(flags);
  if (!cluster) return report(cluster.error());
  const auto values = values_of(*cluster, flags.control_namespace, chosen);
  if (!values) return report(values.error());
  const auto plan = removal_plan(*values);
  if (!plan) return report(plan.error());
  ClusterDoor door(*cluster, Clock::now() + timeout);
  const auto done =
      remove_installation(door, *plan, [](const std::string& line) { std::cout << line << std::endl; });
  return done ? 0 : report(done.error());
}

}  // namespace heddle::tools
