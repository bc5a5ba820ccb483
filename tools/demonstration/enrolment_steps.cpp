// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "tools/capture/capture.h"
#include "tools/demonstration/steps.h"
#include "tools/lab/client.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr int pod_count = 50;

std::string pod_name(int i) {
  return "starter-" + std::to_string(i);
}

// Pods whose only program connects at once and asks for one page.
json::object starters(const std::string& program) {
  json::array items;
  for (int i = 0; i < pod_count; ++i) {
    items.push_back(json::object{
        {"apiVersion", "v1"},
        {"kind", "Pod"},
        {"metadata", {{"name", pod_name(i)}, {"namespace", "demo"}}},
        {"spec",
         {{"nodeName", "node-1"},
          {"restartPolicy", "Never"},
          {"containers",
           json::array{json::object{
               {"name", "connect"},
               {"command", json::array{json::value(program), "http://far.demo/", "-n", "1"}}}}}}}});
  }
  return {{"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(items)}};
}

struct Started {
  std::uint64_t answered = 0;
  std::vector<double> add_ms;
  std::map<std::string, std::string> ips;  // address -> pod
  std::string first_failure;
};

Result<Started> gather(const Stage& stage) {
  auto status = stage.status();
  if (!status) return status.error();
  Started out;
  for (const auto& value : status->at("pods").as_array()) {
    const auto& pod = value.as_object();
    const auto name = text_at(pod, {"name"});
    if (!name.starts_with("starter-")) continue;
    out.add_ms.push_back(pod.at("cniAddMs").to_number<double>());
    for (const auto& ip : pod.at("ips").as_array()) out.ips[std::string(ip.as_string())] = name;
    const auto log = read_file(stage.layout().logs() + "/demo_" + name + "_connect.log");
    if (text_at(pod, {"phase"}) == "Succeeded") {
      ++out.answered;
    } else if (out.first_failure.empty()) {
      out.first_failure = name + ": " + (log ? *log : text_at(pod, {"message"})).substr(0, 200);
    }
  }
  return out;
}

Result<> wait_until_done(const Stage& stage) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (std::chrono::steady_clock::now() < deadline) {
    auto status = stage.status();
    if (!status) return status.error();
    int done = 0;
    for (const auto& value : status->at("pods").as_array()) {
      const auto phase = text_at(value.as_object(), {"phase"});
      if (text_at(value.as_object(), {"name"}).starts_with("starter-") &&
          (phase == "Succeeded" || phase == "Failed"))
        ++done;
    }
    if (done == pod_count) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return {};  // gather() tells who did not get there
}

Result<> remove_starters(const Stage& stage) {
  auto gone = ask_lab(stage.layout(),
                      {{"op", "delete"}, {"kind", "Pod"}, {"namespace", "demo"}, {"name", "starter-*"}});
  if (!gone) return gone.error();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < deadline) {
    auto status = stage.status();
    if (!status) return status.error();
    const auto& pods = status->at("pods").as_array();
    if (std::none_of(pods.begin(), pods.end(), [](const json::value& pod) {
          return text_at(pod.as_object(), {"name"}).starts_with("starter-");
        })) {
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return make_error(Errc::timeout, "deleted pods were still there after 20 s");
}

}  // namespace

// The proof is the wire: a pod that asked around the mesh would show as readable bytes from its address.
Result<Finding> first_connect(Stage& stage, Baseline&) {
  auto netns = open_netns(stage.layout().netns("node-node-1"));
  if (!netns) return netns.error();
  auto capture = WireCapture::start(netns->get(), "eth0", "");
  if (!capture) return capture.error();
  const auto file = stage.layout().root + "/starters.json";
  if (auto put = write_file_atomically(file, json::serialize(starters(stage.load_program())), 0644); !put) {
    return put.error();
  }
  const auto begin = std::chrono::steady_clock::now();
  if (auto applied = ask_lab(stage.layout(), {{"op", "apply"}, {"path", file}}); !applied)
    return applied.error();
  if (auto done = wait_until_done(stage); !done) return done.error();
  const double took_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  const auto& wire = (*capture)->stop();
  auto started = gather(stage);
  if (!started) return started.error();
  std::set<std::string> meshed, missed;
  for (const auto& flow : wire.flows()) {
    const auto from = started->ips.find(flow.client.ip.to_string());
    if (from != started->ips.end()) (flow.tls ? meshed : missed).insert(from->second);
  }
  if (auto removed = remove_starters(stage); !removed) return removed.error();
  std::sort(started->add_ms.begin(), started->add_ms.end());
  const double add_p50 = started->add_ms.empty() ? 0 : started->add_ms[started->add_ms.size() / 2];
  Finding out;
  out.ok = started->answered == pod_count && meshed.size() == pod_count && missed.empty();
  out.measured = {{"pods", pod_count},       {"answered", started->answered}, {"meshed", meshed.size()},
                  {"misses", missed.size()}, {"chain_add_p50_ms", add_p50},   {"took_ms", took_ms}};
  out.text = std::to_string(meshed.size()) + " of 50 new pods meshed from their first connect, " +
             std::to_string(missed.size()) + " misses, whole CNI chain " + duration_text(add_p50) + " (p50)";
  if (!started->first_failure.empty()) out.text += "; " + started->first_failure;
  return out;
}

}  // namespace heddle::tools
