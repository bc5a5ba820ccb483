// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tools/lab/commands.h"
#include "tools/views/node.h"

namespace heddle::tools {

struct DemoOptions {
  std::string name = "demo";          // of the meshed lab; the others append to it
  std::string folder;                 // the demo's objects
  std::string interception = "auto";  // auto: eBPF, then the essentials again with iptables
  std::string bin_dir;
  bool keep = false;
  bool json = false;
  bool show_progress = true;
};

// What a load generator reported, and the process that ran it.
struct LoadResult {
  boost::json::object report;
  std::uint64_t requests() const { return number("requests"); }
  std::uint64_t failed() const { return number("failed"); }
  double latency(const char* quantile) const;
  double backend_share(const std::string& backend) const;
  // "no failure", or the reasons with their counts.
  std::string failures() const;

 private:
  std::uint64_t number(const char* member) const;
};

// One lab of the demo, up from construction to destruction (unless kept). Not thread-safe but for what
// start_load() runs.
class Stage {
 public:
  static Result<std::unique_ptr<Stage>> raise(const std::string& name, bool mesh,
                                              const std::string& interception, const DemoOptions& options);
  ~Stage();
  void keep() { kept_ = true; }

  const LabLayout& layout() const { return layout_; }
  const std::string& load_program() const { return load_; }
  Result<boost::json::object> status() const;
  std::vector<NodeView> nodes() const;

  // Runs a program in a pod to its end; any exit code but 0 is an error with its output.
  Result<std::string> in_pod(const std::string& pod, const std::vector<std::string>& command,
                             std::chrono::milliseconds timeout = std::chrono::seconds(20)) const;
  // The load generator in a pod. A load that counted failures is a result, not an error.
  Result<LoadResult> load(const std::string& pod, std::vector<std::string> arguments) const;
  std::future<Result<LoadResult>> start_load(const std::string& pod,
                                             std::vector<std::string> arguments) const;

  // Seconds of CPU that everything of the lab has used (cpu.stat of its cgroup).
  Result<double> cpu_seconds() const;

 private:
  Stage(LabLayout layout, std::string load) : layout_(std::move(layout)), load_(std::move(load)) {}
  LabLayout layout_;
  std::string load_;
  bool kept_ = false;
};

}  // namespace heddle::tools
