// SPDX-License-Identifier: Apache-2.0
#include "tools/demonstration/stage.h"

#include <sys/wait.h>

#include <sstream>

#include "base/io/file.h"
#include "tools/lab/client.h"
#include "tools/output/walk.h"

namespace heddle::tools {

namespace json = boost::json;

std::uint64_t LoadResult::number(const char* member) const {
  const auto* value = report.if_contains(member);
  return value && value->is_number() ? value->to_number<std::uint64_t>() : 0;
}

double LoadResult::latency(const char* quantile) const {
  const auto* latencies = find_object(report, {"latencyMs"});
  const auto* value = latencies ? latencies->if_contains(quantile) : nullptr;
  return value && value->is_number() ? value->to_number<double>() : 0;
}

double LoadResult::backend_share(const std::string& backend) const {
  const auto* backends = find_object(report, {"backends"});
  double all = 0;
  double wanted = 0;
  for (const auto& [name, count] : backends ? *backends : json::object()) {
    all += count.to_number<double>();
    if (name == backend) wanted += count.to_number<double>();
  }
  return all > 0 ? wanted / all : 0;
}

std::string LoadResult::failures() const {
  const auto* errors = find_object(report, {"errors"});
  if (!errors || errors->empty()) return "no failure";
  std::string out;
  for (const auto& [reason, count] : *errors) {
    out += (out.empty() ? "" : ", ") + std::to_string(count.to_number<std::uint64_t>()) + "x " +
           std::string(reason);
  }
  return out;
}

Result<std::unique_ptr<Stage>> Stage::raise(const std::string& name, bool mesh,
                                            const std::string& interception, const DemoOptions& options) {
  auto load = find_program("heddle-lab-load", options.bin_dir);
  if (!load) return load.error();
  auto layout = LabLayout::of(name);
  if (!layout) return layout.error();
  // What an earlier run left after a kill -9.
  if (auto removed = remove_lab(*layout); !removed) return removed.error();
  LabOptions lab;
  lab.name = name;
  lab.folder = options.folder;
  lab.mesh = mesh;
  lab.interception = interception;
  lab.bin_dir = options.bin_dir;
  std::unique_ptr<Stage> out(new Stage(*layout, *load));
  if (auto up = lab_up(lab, std::chrono::seconds(30), true); !up) return up.error();
  return out;
}

Stage::~Stage() {
  if (!kept_) (void)remove_lab(layout_);
}

Result<json::object> Stage::status() const {
  return ask_lab(layout_, {{"op", "status"}});
}

std::vector<NodeView> Stage::nodes() const {
  auto nodes = nodes_in({"", layout_.name, {}});
  return nodes ? *nodes : std::vector<NodeView>();
}

Result<std::string> Stage::in_pod(const std::string& pod, const std::vector<std::string>& command,
                                  std::chrono::milliseconds timeout) const {
  auto place = find_pod(layout_, pod, "");
  if (!place) return place.error();
  Fd netns;
  auto spec = pod_process(layout_, *place, command, netns);
  if (!spec) return spec.error();
  return run_checked(*spec, {}, timeout);
}

Result<LoadResult> Stage::load(const std::string& pod, std::vector<std::string> arguments) const {
  auto place = find_pod(layout_, pod, "");
  if (!place) return place.error();
  arguments.insert(arguments.begin(), load_);
  Fd netns;
  auto spec = pod_process(layout_, *place, arguments, netns);
  if (!spec) return spec.error();
  auto done = run(*spec, {}, std::chrono::seconds(60));
  if (!done) return done.error();
  boost::system::error_code malformed;
  auto value = json::parse(done->out, malformed);
  if (malformed || !value.is_object()) {
    return make_error(Errc::internal, "heddle-lab-load in pod " + pod + " reported nothing (" +
                                          done->exit.to_string() + "): " + done->err);
  }
  return LoadResult{std::move(value.get_object())};
}

std::future<Result<LoadResult>> Stage::start_load(const std::string& pod,
                                                  std::vector<std::string> arguments) const {
  return std::async(std::launch::async,
                    [this, pod, arguments = std::move(arguments)] { return load(pod, arguments); });
}

Result<double> Stage::cpu_seconds() const {
  auto text = read_file(layout_.cgroup + "/cpu.stat");
  if (!text) return text.error();
  std::istringstream fields(*text);
  std::string name;
  double value = 0;
  while (fields >> name >> value) {
    if (name == "usage_usec") return value / 1e6;
  }
  return make_error(Errc::unsupported, layout_.cgroup + "/cpu.stat has no usage_usec");
}

}  // namespace heddle::tools
