// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/cluster.h"

#include <sys/wait.h>

#include <charconv>
#include <iostream>

#include "tools/deploy/manifest.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

Result<Finished> kubectl(std::vector<std::string> arguments, const std::string& input = {}) {
  SpawnSpec spec;
  spec.argv = {"kubectl"};
  spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
  auto finished = run(spec, input, std::chrono::seconds(60));
  if (!finished && finished.error().code == boost::system::errc::no_such_file_or_directory)
    return make_error(Errc::unavailable, "this needs kubectl in PATH; `heddle render` does without");
  if (finished && finished->timed_out)
    return make_error(Errc::timeout, "kubectl did not end within 60 s; does `kubectl version` answer?");
  return finished;
}

std::vector<int> numbers(const std::string& version) {
  std::vector<int> out;
  const char* at = version.data() + (version.starts_with('v') ? 1 : 0);
  const char* end = version.data() + version.size();
  int number = 0;
  for (;;) {
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc{}) return out;
    out.push_back(number);
    if (parsed.ptr == end || *parsed.ptr != '.') return out;
    at = parsed.ptr + 1;
  }
}

}  // namespace

Result<Installed> installed_from(const std::string& config_map) {
  boost::system::error_code failed;
  const auto object = json::parse(config_map, failed);
  const auto* data = !failed && object.is_object() ? object.get_object().if_contains("data") : nullptr;
  const auto* map = data ? data->if_object() : nullptr;
  const auto* version = map ? map->if_contains("version") : nullptr;
  const auto* values = map ? map->if_contains("values") : nullptr;
  if (!version || !version->is_string() || !values || !values->is_string())
    return make_error(Errc::protocol, "ConfigMap " + std::string(choice_name) +
                                          " has no data.version and data.values; give the values again with "
                                          "`heddle install`");
  auto chosen = json::parse(json::string_view(values->get_string()), failed);
  if (failed || !chosen.is_object())
    return make_error(Errc::protocol,
                      "ConfigMap " + std::string(choice_name) + ": data.values is no JSON object");
  return Installed{std::string(version->get_string()), std::move(chosen.get_object())};
}

Result<Installed> read_installed(const std::string& name_space) {
  auto finished = kubectl({"get", "configmap", choice_name, "-n", name_space, "-o", "json"});
  if (!finished) return finished.error();
  if (finished->exit.ok()) return installed_from(finished->out);
  if (finished->err.find("(NotFound)") != std::string::npos)
    return make_error(Errc::not_found,
                      "there is no ConfigMap " + std::string(choice_name) + " in namespace " + name_space +
                          "; install with `heddle install`, or name the namespace with --namespace");
  return make_error(Errc::unavailable, "kubectl: " + finished->err.substr(0, 400));
}

bool is_downgrade(const std::string& from, const std::string& to) {
  return numbers(to) < numbers(from);
}

Result<int> show_difference(const std::string& manifest) {
  const auto finished = kubectl({"diff", "-f", "-"}, manifest);
  if (!finished) return finished.error();
  std::cout << finished->out;
  std::cerr << finished->err;
  const int status = finished->exit.status;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

}  // namespace heddle::tools
