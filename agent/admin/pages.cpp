// SPDX-License-Identifier: Apache-2.0
#include "agent/admin/pages.h"

#include <unistd.h>

#include <boost/json.hpp>

#include "agent/version.h"

namespace heddle::agent {
namespace json = boost::json;
namespace {

json::object verdicts_of(const Datapath* datapath, std::uint32_t pod_id) {
  json::object out;
  if (datapath == nullptr) return out;
  const auto counts = datapath->counts(pod_id);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) out[verdict_name(static_cast<heddle_verdict>(i))] = counts[i];
  }
  return out;
}

json::array ips_of(const PodSpec& spec) {
  json::array out;
  for (const auto& ip : spec.addresses) out.emplace_back(ip.to_string());
  return out;
}

HttpAnswer text_answer(int status, std::string body) {
  return {status, "text/plain; charset=utf-8", std::move(body), {}};
}

}  // namespace

AdminPages::AdminPages(Subjects subjects) : subjects_(std::move(subjects)) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  started_unix_ = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

void AdminPages::count(const CniCall& call, const CniAnswer& answer, std::chrono::microseconds took) {
  ++cni_[{std::string(to_string(call.command)), static_cast<std::uint32_t>(answer.code)}];
  if (call.command == CniCommand::add && answer.meshed) enrolment_.observe(took);
}

HttpAnswer AdminPages::open(const HttpRequest& request) {
  if (request.method != "GET" && request.method != "HEAD") return text_answer(405, "only GET\n");
  if (request.path == "/live") return text_answer(200, "live\n");
  if (request.path == "/ready")
    return subjects_.ready ? text_answer(200, "ready\n") : text_answer(503, "starting\n");
  if (request.path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", metrics(), {}};
  return text_answer(404, "pages: /live /ready /metrics\n");
}

HttpAnswer AdminPages::admin(const HttpRequest& request) {
  if (request.path == "/loglevel") {
    if (request.method != "POST") return text_answer(405, "POST the level\n");
    std::string level = request.body;
    while (!level.empty() && level.back() == '\n') level.pop_back();
    const auto parsed = spdlog::level::from_str(level);
    if (parsed == spdlog::level::off && level != "off") {
      return text_answer(400, "level: trace, debug, info, warn, error or off\n");
    }
    spdlog::set_level(parsed);
    return text_answer(200, "log level is " + level + "\n");
  }
  if (request.method == "GET" && request.path == "/state") return {200, "application/json", state(), {}};
  if (request.method == "GET" && request.path == "/verify") return {200, "application/json", verify(), {}};
  if (request.method == "GET" && request.path == "/drops") return drops(request);
  HttpAnswer answer = open(request);
  if (answer.status == 404)
    answer.body = "pages: /state /verify /drops?follow /live /ready /metrics, POST /loglevel\n";
  return answer;
}

HttpAnswer AdminPages::drops(const HttpRequest& request) {
  HttpAnswer answer;
  if (request.query == "follow" || request.query == "follow=true" || request.query == "follow=1") {
    answer.content_type = "application/x-ndjson";
    for (const auto& line : subjects_.drops.recent()) answer.body += line + "\n";
    answer.follow = [&log = subjects_.drops](DropLog::Follower more) { log.follow(std::move(more)); };
    return answer;
  }
  answer.body = "{\"total\":" + std::to_string(subjects_.drops.total()) + ",\"drops\":[";
  bool first = true;
  for (const auto& line : subjects_.drops.recent()) {
    answer.body += (first ? "" : ",") + line;
    first = false;
  }
  answer.body += "]}\n";
  return answer;
}

std::string AdminPages::state() {
  const Interception& interception = subjects_.interception;
  json::array hooks;
  for (const auto& hook : interception.hooks()) {
    hooks.push_back(json::object{{"hook", hook.hook}, {"usable", hook.usable}, {"reason", hook.reason}});
  }
  json::array pods;
  for (const auto& [id, sandbox] : subjects_.enrolment.registry().all()) {
    const Progress progress = subjects_.enrolment.progress(id);
    json::object pod{{"pod_id", sandbox.pod_id},
                     {"namespace", sandbox.spec.ns},
                     {"name", sandbox.spec.name},
                     {"uid", sandbox.spec.uid},
                     {"container_id", id},
                     {"service_account", sandbox.spec.service_account},
                     {"identity", sandbox.spec.identity},
                     {"ips", ips_of(sandbox.spec)},
                     {"netns", subjects_.enrolment.netns_path(sandbox)},
                     {"netns_cookie", sandbox.facts.netns_cookie},
                     {"meshed", sandbox.spec.meshed},
                     {"reason", sandbox.spec.reason},
                     {"failure", sandbox.failure}};
    if (sandbox.spec.meshed) {
      pod["mode"] = std::string(to_string(sandbox.mode));
      pod["mode_reason"] = sandbox.mode_reason;
      pod["node_let_in"] = interception.lets_the_node_in(sandbox.mode);
      pod["redirected"] = progress.enrolled || progress.installed;
      pod["listening"] = progress.listening;
      pod["proxy"] = subjects_.links.acknowledged(sandbox.pod_id) ? "acknowledged" : "waiting";
      pod["outbound_port"] = sandbox.outbound_port;
      pod["inbound_port"] = sandbox.inbound_port;
      pod["generation"] = sandbox.generation;
      pod["verdicts"] = verdicts_of(interception.datapath(), sandbox.pod_id);
    }
    json::array complaints;
    for (const auto& complaint : sandbox.spec.settings.complaints) complaints.emplace_back(complaint);
    pod["complaints"] = std::move(complaints);
    pods.push_back(std::move(pod));
  }
  json::array proxies;
  for (const auto& proxy : subjects_.links.status()) {
    proxies.push_back(json::object{{"pid", proxy.pid},
                                   {"version", proxy.version},
                                   {"state", proxy.state},
                                   {"pods_acknowledged", proxy.pods_acknowledged},
                                   {"queued", proxy.queued}});
  }
  json::object out{
      {"node", subjects_.node_name},
      {"version", version},
      {"pid", ::getpid()},
      {"ready", subjects_.ready},
      {"started_unix", started_unix_},
      {"interception", json::object{{"mode", std::string(to_string(interception.node_choice().mode))},
                                    {"reason", interception.node_choice().reason},
                                    {"iptables", interception.redirect_status()},
                                    {"hooks", std::move(hooks)}}},
      {"pods", std::move(pods)},
      {"proxies", std::move(proxies)},
      {"unattributed_verdicts", verdicts_of(interception.datapath(), 0)}};
  return json::serialize(out) + "\n";
}

std::string AdminPages::verify() {
  bool all_ok = true;
  json::array pods;
  for (const auto& [id, sandbox] : subjects_.enrolment.registry().all()) {
    if (!sandbox.spec.meshed) continue;
    const auto verified = subjects_.enrolment.verify(sandbox);
    all_ok = all_ok && verified;
    pods.push_back(
        json::object{{"namespace", sandbox.spec.ns},
                     {"name", sandbox.spec.name},
                     {"container_id", id},
                     {"mode", std::string(to_string(sandbox.mode))},
                     {"ok", static_cast<bool>(verified)},
                     {"missing", verified ? "" : verified.error().message()},
                     {"proxy", subjects_.links.acknowledged(sandbox.pod_id) ? "acknowledged" : "waiting"}});
  }
  return json::serialize(json::object{
             {"ok", all_ok}, {"proxy_active", subjects_.links.has_active()}, {"pods", std::move(pods)}}) +
         "\n";
}

}  // namespace heddle::agent
