// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/plan.h"

#include <set>

#include "tools/lab/plan_pod.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::uint64_t fnv(std::string_view text, std::uint64_t hash = 14695981039346656037u) {
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  // FNV's low bits are weak for short texts; a final mix makes names that differ in one letter look
  // different.
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  return hash ^ (hash >> 33);
}

// Kubernetes' own alphabet for generated names: no vowels, no look-alikes.
std::string suffix(std::uint64_t hash, std::size_t length) {
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (std::size_t i = 0; i < length; ++i, hash /= alphabet.size()) out += alphabet[hash % alphabet.size()];
  return out;
}

std::string where(const json::object& object) {
  const std::string ns = text_at(object, {"metadata", "namespace"});
  return text_at(object, {"kind"}) + " " + (ns.empty() ? "" : ns + "/") +
         text_at(object, {"metadata", "name"});
}

Result<> check_name(const json::object& object) {
  const auto name = text_at(object, {"metadata", "name"});
  const auto ns = text_at(object, {"metadata", "namespace"});
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789-.";
  for (const auto& part : {name, ns.empty() ? std::string("default") : ns}) {
    if (part.empty() || part.size() > 253 || part.find_first_not_of(allowed) != std::string::npos ||
        part.front() == '-' || part.front() == '.') {
      return make_error(
          Errc::invalid_argument,
          where(object) + ": metadata.name and namespace must be lower-case letters, digits and `-`");
    }
  }
  return {};
}

// The kinds a lab knows have one version each: leaving it out is fine here, while heddle's programs want it.
void complete(json::object& object) {
  if (!text_at(object, {"apiVersion"}).empty()) return;
  const auto kind = text_at(object, {"kind"});
  object["apiVersion"] = kind == "EndpointSlice" ? "discovery.k8s.io/v1"
                         : kind == "Deployment"  ? "apps/v1"
                                                 : "v1";
}

class Planner {
 public:
  Result<LabPlan> plan(const std::vector<json::object>& objects) {
    for (const auto& object : objects) {
      if (auto named = check_name(object); !named) return named.error();
      auto seen = where(object);
      if (!seen_.insert(seen).second)
        return make_error(Errc::invalid_argument, seen + " is there twice; remove one");
      if (text_at(object, {"kind"}) == "Node") {
        if (auto added = add_node(object); !added) return added.error();
      }
    }
    if (plan_.nodes.empty()) {
      (void)add_node(
          json::parse(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1"}})").as_object());
    }
    for (const auto& object : objects) {
      if (text_at(object, {"kind"}) == "Service") taken_.insert(text_at(object, {"spec", "clusterIP"}));
    }
    for (const auto& object : objects) {
      if (auto added = add(object); !added) return added.error();
    }
    return std::move(plan_);
  }

 private:
  Result<> add(const json::object& object) {
    const auto kind = text_at(object, {"kind"});
    if (kind == "Node") return {};
    if (kind == "Pod") return add_pod(object);
    if (kind == "Deployment") return add_deployment(object);
    if (kind == "Service") return add_service(object);
    if (kind == "ConfigMap") return add_config_map(object);
    static const std::set<std::string> handed_on = {"Namespace", "ServiceAccount", "EndpointSlice",
                                                    "Endpoints"};
    if (handed_on.contains(kind)) {
      plan_.others.push_back(object);
    } else {
      plan_.ignored.push_back(where(object));
    }
    return {};
  }

  Result<> add_node(const json::object& object) {
    LabNode node;
    node.name = text_at(object, {"metadata", "name"});
    node.index = static_cast<unsigned>(plan_.nodes.size()) + 1;
    if (node.index > 200) return make_error(Errc::exhausted, "a lab has at most 200 nodes");
    const auto n = std::to_string(node.index);
    node.ip4 = *IpAddress::parse("172.30.0." + std::to_string(10 + node.index));
    char hex[8];
    std::snprintf(hex, sizeof hex, "%x", 16 + node.index);
    node.ip6 = *IpAddress::parse("fd00:172:30::" + std::string(hex));
    node.pods4 = "10.244." + n + ".0/24";
    node.pods6 = "fd00:10:244:" + n + "::/64";
    node.object = object;
    auto& spec = object_at(node.object, "spec");
    spec["podCIDR"] = node.pods4;
    spec["podCIDRs"] = json::array{json::value(node.pods4), json::value(node.pods6)};
    object_at(node.object, "status")["addresses"] =
        json::array{json::object{{"type", "InternalIP"}, {"address", node.ip4.to_string()}},
                    json::object{{"type", "InternalIP"}, {"address", node.ip6.to_string()}},
                    json::object{{"type", "Hostname"}, {"address", node.name}}};
    object_at(node.object, "metadata")["uid"] = stable_uid("Node", "", node.name);
    plan_.nodes.push_back(std::move(node));
    return {};
  }

  Result<> add_pod(const json::object& object) {
    auto pod = plan_pod(object);
    if (!pod) return pod.error();
    if (pod->node.empty()) pod->node = plan_.nodes[next_node_++ % plan_.nodes.size()].name;
    const auto known = std::any_of(plan_.nodes.begin(), plan_.nodes.end(),
                                   [&](const LabNode& node) { return node.name == pod->node; });
    if (!known) {
      return make_error(Errc::invalid_argument, where(object) + ": spec.nodeName " + pod->node +
                                                    " is no Node of this lab; add one of that name");
    }
    object_at(pod->object, "spec")["nodeName"] = pod->node;
    plan_.pods.push_back(std::move(*pod));
    return {};
  }

  // Replicas are spread over the nodes in order; their names are as the ReplicaSet controller would form
  // them.
  Result<> add_deployment(const json::object& object) {
    const auto* spec = find_object(object, {"spec"});
    const auto* pod_template = spec ? find_object(*spec, {"template"}) : nullptr;
    if (!pod_template)
      return make_error(Errc::invalid_argument, where(object) + ": spec.template is missing");
    const auto* replicas = spec->if_contains("replicas");
    const std::int64_t count = replicas && replicas->is_int64() ? replicas->get_int64() : 1;
    if (count < 0 || count > 2000)
      return make_error(Errc::invalid_argument, where(object) + ": replicas not in 0..2000");
    const auto name = text_at(object, {"metadata", "name"});
    const auto ns = text_at(object, {"metadata", "namespace"});
    const auto hash = suffix(fnv(json::serialize(*pod_template)), 9);
    const auto* labels = find_object(*pod_template, {"metadata", "labels"});
    if (!labels || labels->empty()) {
      return make_error(Errc::invalid_argument, where(object) + ": spec.template.metadata.labels is missing");
    }
    for (std::int64_t i = 0; i < count; ++i) {
      json::object pod = *pod_template;
      pod["apiVersion"] = "v1";
      pod["kind"] = "Pod";
      auto& metadata = object_at(pod, "metadata");
      metadata["name"] = name + "-" + hash + "-" + suffix(fnv(ns + "/" + name + "#" + std::to_string(i)), 5);
      if (!ns.empty()) metadata["namespace"] = ns;
      object_at(metadata, "labels")["pod-template-hash"] = hash;
      metadata["ownerReferences"] = json::array{json::object{{"apiVersion", "apps/v1"},
                                                             {"kind", "ReplicaSet"},
                                                             {"name", name + "-" + hash},
                                                             {"uid", stable_uid("ReplicaSet", ns, name)},
                                                             {"controller", true}}};
      if (auto added = add_pod(pod); !added) return added;
    }
    return {};
  }

  Result<> add_service(const json::object& object) {
    const bool given = !text_at(object, {"spec", "clusterIP"}).empty();
    while (true) {
      auto service = plan_service(object, next_service_++);
      if (!service) return service.error();
      // An address made here may be one that another service asks for.
      const bool collides = !given && std::any_of(service->cluster_ips.begin(), service->cluster_ips.end(),
                                                  [&](const auto& ip) { return taken_.contains(ip); });
      if (collides) continue;
      plan_.services.push_back(std::move(*service));
      return {};
    }
  }

  Result<> add_config_map(const json::object& object) {
    auto& files = plan_.config_maps[namespace_of(object) + "/" + text_at(object, {"metadata", "name"})];
    const auto* data = find_object(object, {"data"});
    if (!data) return {};
    for (const auto& [file, content] : *data) {
      if (!content.is_string() || file.find('/') != json::string::npos) {
        return make_error(Errc::invalid_argument, where(object) + ": data must map file names to strings");
      }
      files[std::string(file)] = std::string(content.get_string());
    }
    return {};
  }

  LabPlan plan_;
  std::set<std::string> seen_;
  std::set<std::string> taken_;  // cluster addresses that services ask for
  std::size_t next_node_ = 0;
  unsigned next_service_ = 10;
};

}  // namespace

Result<LabPlan> make_plan(const std::vector<json::object>& objects) {
  auto completed = objects;
  for (auto& object : completed) complete(object);
  return Planner().plan(completed);
}

std::string stable_uid(std::string_view kind, std::string_view ns, std::string_view name) {
  const auto text = std::string(kind) + "/" + std::string(ns) + "/" + std::string(name);
  const auto high = fnv(text);
  const auto low = fnv(text, high);
  char out[40];
  std::snprintf(out, sizeof out, "%08x-%04x-4%03x-8%03x-%012llx", static_cast<unsigned>(high >> 32),
                static_cast<unsigned>(high >> 16 & 0xffff), static_cast<unsigned>(high & 0xfff),
                static_cast<unsigned>(low >> 48 & 0xfff),
                static_cast<unsigned long long>(low & 0xffffffffffffu));
  return out;
}

bool selects(const std::map<std::string, std::string>& selector,
             const std::map<std::string, std::string>& labels) {
  if (selector.empty()) return false;
  return std::all_of(selector.begin(), selector.end(), [&](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

}  // namespace heddle::tools
