// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster/cluster.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "control/source/kubernetes/find_access.h"
#include "tools/http/query.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
namespace kubernetes = heddle::source::kubernetes;

constexpr std::chrono::seconds patience{30};
constexpr std::string_view agents_name = "heddle-agent";

bool belongs_to_agents(const json::object& pod) {
  const auto* owners = find_array(pod, {"metadata", "ownerReferences"});
  return owners && std::ranges::any_of(*owners, [](const json::value& value) {
           const auto* owner = value.if_object();
           return owner && text_at(*owner, {"kind"}) == "DaemonSet" &&
                  text_at(*owner, {"name"}) == agents_name;
         });
}

// The container of the agent, which may have others beside it.
std::string container_of(const json::object& pod) {
  const auto* containers = find_array(pod, {"spec", "containers"});
  if (!containers || containers->empty()) return {};
  for (const auto& value : *containers) {
    const auto* container = value.if_object();
    if (!container) continue;
    const auto name = text_at(*container, {"name"});
    if (name == "agent" || name == agents_name) return name;
  }
  const auto* first = containers->front().if_object();
  return first ? text_at(*first, {"name"}) : std::string();
}

std::string trouble_of(const json::object& pod) {
  const auto phase = text_at(pod, {"status", "phase"});
  if (phase == "Running") return {};
  return "pod " + text_at(pod, {"metadata", "name"}) + " is " + (phase.empty() ? "not there yet" : phase);
}

Error refused(const std::string& what, const kubernetes::Answer& answer) {
  boost::system::error_code malformed;
  const auto value = json::parse(answer.body, malformed);
  std::string message =
      malformed || !value.is_object() ? std::string() : text_at(value.get_object(), {"message"});
  if (message.empty()) message = what + ": status " + std::to_string(answer.status);
  if (answer.status == 404) return make_error(Errc::not_found, message);
  if (answer.status == 401 || answer.status == 403) return make_error(Errc::permission_denied, message);
  return make_error(Errc::unavailable, message);
}

}  // namespace

std::vector<AgentPod> agents_of(const json::object& pods) {
  std::vector<AgentPod> out;
  const auto* items = find_array(pods, {"items"});
  for (const auto& value : items ? *items : json::array()) {
    const auto* pod = value.if_object();
    if (!pod || !belongs_to_agents(*pod)) continue;
    AgentPod agent;
    agent.node = text_at(*pod, {"spec", "nodeName"});
    agent.pod = {text_at(*pod, {"metadata", "namespace"}), text_at(*pod, {"metadata", "name"}),
                 container_of(*pod)};
    agent.trouble = trouble_of(*pod);
    out.push_back(std::move(agent));
  }
  std::ranges::sort(out, {}, &AgentPod::node);
  // While one takes over from another both are there: the one that runs answers.
  for (auto at = out.begin(); at != out.end();) {
    const bool twin = std::ranges::any_of(out, [&](const AgentPod& other) {
      return &other != &*at && other.node == at->node && other.trouble.empty();
    });
    at = twin && !at->trouble.empty() ? out.erase(at) : at + 1;
  }
  return out;
}

Result<Cluster> Cluster::open(const ClusterFlags& flags) {
  auto access = kubernetes::find_access(flags.kubeconfig, flags.context, flags.insecure_skip_tls_verify);
  if (!access) return access.error();
  Cluster cluster(flags);
  cluster.access_ = std::make_shared<const kubernetes::Access>(*access);
  cluster.caller_ = std::make_unique<kubernetes::Caller>(std::move(*access));
  return cluster;
}

Result<std::string> Cluster::body_of(kubernetes::Request request) {
  const std::string what = request.method + " " + request.target;
  auto answer = caller_->call(std::move(request), patience);
  if (!answer) return answer.error();
  if (answer->status < 200 || answer->status > 202) return refused(what, *answer);
  return std::move(answer->body);
}

Result<json::object> Cluster::ask(kubernetes::Request request) {
  const std::string what = request.method + " " + request.target;
  const auto body = body_of(std::move(request));
  if (!body) return body.error();
  boost::system::error_code malformed;
  auto value = json::parse(*body, malformed);
  if (malformed || !value.is_object()) return make_error(Errc::protocol, what + ": no JSON object came back");
  return std::move(value.get_object());
}

Result<json::object> Cluster::get(const std::string& path) {
  kubernetes::Request request;
  request.target = path;
  return ask(std::move(request));
}

Result<std::string> Cluster::get_text(const std::string& path) {
  kubernetes::Request request;
  request.target = path;
  return body_of(std::move(request));
}

Result<json::object> Cluster::create(const std::string& path, const json::object& object) {
  kubernetes::Request request;
  request.method = "POST";
  request.target = path;
  request.body = json::serialize(object);
  request.content_type = "application/json";
  return ask(std::move(request));
}

Result<json::object> Cluster::remove(const std::string& path) {
  kubernetes::Request request;
  request.method = "DELETE";
  request.target = path;
  request.body = R"({"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground"})";
  request.content_type = "application/json";
  return ask(std::move(request));
}

Result<std::vector<AgentPod>> Cluster::agents() {
  auto pods = get("/api/v1/namespaces/" + query_escape(flags_.control_namespace) + "/pods");
  if (!pods) return pods.error();
  auto out = agents_of(*pods);
  if (out.empty()) {
    return make_error(Errc::not_found,
                      "no pod of DaemonSet heddle-agent in namespace " + flags_.control_namespace +
                          ": `heddle install | kubectl apply -f -` installs heddle; say where it is "
                          "with --control-namespace");
  }
  return out;
}

Result<IpAddress> Cluster::address_of(const std::string& ns, const std::string& name) {
  const auto base = "/api/v1/namespaces/" + query_escape(ns);
  auto object = get(base + "/services/" + query_escape(name));
  std::string text = object ? text_at(*object, {"spec", "clusterIP"}) : std::string();
  if (!object && object.error().code == make_error_code(Errc::not_found)) {
    object = get(base + "/pods/" + query_escape(name));
    if (object) text = text_at(*object, {"status", "podIP"});
  }
  if (!object) return object.error();
  auto ip = IpAddress::parse(text);
  if (!ip)
    return make_error(Errc::not_found,
                      ns + "/" + name + " has no address (" + text + "): name one of its pods");
  return *ip;
}

bool kubeconfig_found() {
  if (const char* paths = std::getenv("KUBECONFIG"); paths && *paths) return true;
  const char* home = std::getenv("HOME");
  return home && ::access((std::string(home) + "/.kube/config").c_str(), R_OK) == 0;
}

}  // namespace heddle::tools
