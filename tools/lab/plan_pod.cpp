// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/plan_pod.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::vector<std::string> strings(const json::array* array) {
  std::vector<std::string> out;
  if (array) {
    for (const auto& value : *array) out.push_back(spelled(value));
  }
  return out;
}

unsigned number_at(const json::object& from, std::initializer_list<const char*> path, unsigned otherwise) {
  const auto* value = find_value(from, path);
  return value && value->is_int64() && value->get_int64() >= 0 ? static_cast<unsigned>(value->get_int64())
                                                               : otherwise;
}

// $(NAME) of a known variable is replaced, $$ is a dollar, everything else stays (Kubernetes' rule).
std::string expand(const std::string& text, const std::map<std::string, std::string>& env) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
    } else if (text[i + 1] == '$') {
      out += '$';
      ++i;
    } else if (text[i + 1] == '(') {
      const auto end = text.find(')', i);
      const auto name = end == std::string::npos ? std::string() : text.substr(i + 2, end - i - 2);
      const auto found = env.find(name);
      if (found == env.end()) {
        out += text[i];
      } else {
        out += found->second;
        i = end;
      }
    } else {
      out += text[i];
    }
  }
  return out;
}

// A port given as number or as the name of one of the container's.
Result<std::uint16_t> port_of(const json::value* value, const LabContainer& container) {
  if (value && value->is_int64() && value->get_int64() > 0 && value->get_int64() < 65536) {
    return static_cast<std::uint16_t>(value->get_int64());
  }
  if (value && value->is_string()) {
    const auto found = container.ports.find(std::string(value->get_string()));
    if (found != container.ports.end()) return found->second;
  }
  return make_error(
      Errc::invalid_argument,
      "container " + container.name + ": the probe's port is neither 1..65535 nor a name in `ports`");
}

Result<LabProbe> plan_probe(const json::object& probe, const LabContainer& container) {
  LabProbe out;
  out.initial_delay_s = number_at(probe, {"initialDelaySeconds"}, 0);
  out.period_s = std::max(1u, number_at(probe, {"periodSeconds"}, 10));
  out.timeout_s = std::max(1u, number_at(probe, {"timeoutSeconds"}, 1));
  out.failure_threshold = std::max(1u, number_at(probe, {"failureThreshold"}, 3));
  out.success_threshold = std::max(1u, number_at(probe, {"successThreshold"}, 1));
  if (const auto* http = find_object(probe, {"httpGet"})) {
    out.kind = LabProbe::Kind::http;
    out.host = text_at(*http, {"host"});
    if (const auto path = text_at(*http, {"path"}); !path.empty()) out.path = path;
    if (const auto* headers = find_array(*http, {"httpHeaders"})) {
      for (const auto& header : *headers) {
        if (header.is_object()) {
          out.headers.emplace_back(text_at(header.get_object(), {"name"}),
                                   text_at(header.get_object(), {"value"}));
        }
      }
    }
    auto port = port_of(http->if_contains("port"), container);
    if (!port) return port.error();
    out.port = *port;
  } else if (const auto* tcp = find_object(probe, {"tcpSocket"})) {
    out.kind = LabProbe::Kind::tcp;
    out.host = text_at(*tcp, {"host"});
    auto port = port_of(tcp->if_contains("port"), container);
    if (!port) return port.error();
    out.port = *port;
  } else if (const auto* exec = find_object(probe, {"exec"})) {
    out.kind = LabProbe::Kind::exec;
    out.command = strings(find_array(*exec, {"command"}));
    if (out.command.empty()) return make_error(Errc::invalid_argument, "an exec probe without `command`");
  } else {
    return make_error(Errc::invalid_argument,
                      "container " + container.name + ": a readinessProbe needs httpGet, tcpSocket or exec");
  }
  return out;
}

void plan_environment(const json::object& from, const LabPod& pod, LabContainer& out) {
  const auto* env = find_array(from, {"env"});
  if (!env) return;
  for (const auto& entry : *env) {
    if (!entry.is_object()) continue;
    const auto& variable = entry.get_object();
    std::string value = text_at(variable, {"value"});
    const auto field = text_at(variable, {"valueFrom", "fieldRef", "fieldPath"});
    if (field == "metadata.name") value = pod.name;
    if (field == "metadata.namespace") value = pod.ns;
    if (field == "metadata.uid") value = pod.uid;
    if (field == "spec.nodeName") value = pod.node;
    if (field == "spec.serviceAccountName") value = pod.service_account;
    out.env[text_at(variable, {"name"})] = expand(value, out.env);
  }
}

void plan_ports(const json::object& from, LabPod& pod, LabContainer& out) {
  const auto* ports = find_array(from, {"ports"});
  if (!ports) return;
  for (const auto& entry : *ports) {
    if (!entry.is_object()) continue;
    const auto& port = entry.get_object();
    const auto number = number_at(port, {"containerPort"}, 0);
    if (number == 0 || number > 65535) continue;
    const auto name = text_at(port, {"name"});
    if (!name.empty()) out.ports[name] = static_cast<std::uint16_t>(number);
    if (const auto host = number_at(port, {"hostPort"}, 0); host != 0) {
      auto protocol = text_at(port, {"protocol"});
      std::transform(protocol.begin(), protocol.end(), protocol.begin(),
                     [](char c) { return std::tolower(c); });
      pod.port_mappings.push_back(json::object{
          {"hostPort", host}, {"containerPort", number}, {"protocol", protocol.empty() ? "tcp" : protocol}});
    }
  }
}

Result<LabContainer> plan_container(const json::object& from, LabPod& pod) {
  LabContainer out;
  out.name = text_at(from, {"name"});
  if (out.name.empty()) return make_error(Errc::invalid_argument, "a container without `name`");
  plan_environment(from, pod, out);
  plan_ports(from, pod, out);
  auto command = strings(find_array(from, {"command"}));
  const auto args = strings(find_array(from, {"args"}));
  command.insert(command.end(), args.begin(), args.end());
  if (command.empty()) {
    return make_error(Errc::invalid_argument, "container " + out.name +
                                                  ": `command` is missing; a lab has no images, "
                                                  "containers run programs of this machine");
  }
  for (const auto& word : command) out.argv.push_back(expand(word, out.env));
  out.working_directory = text_at(from, {"workingDir"});
  const auto* security = find_object(from, {"securityContext"});
  const auto* pod_security = find_object(pod.object, {"spec", "securityContext"});
  for (const auto* context : {pod_security, security}) {
    if (!context) continue;
    if (context->contains("runAsUser")) out.uid = number_at(*context, {"runAsUser"}, 0);
    if (context->contains("runAsGroup")) out.gid = number_at(*context, {"runAsGroup"}, 0);
  }
  if (const auto* mounts = find_array(from, {"volumeMounts"})) {
    for (const auto& mount : *mounts) {
      if (!mount.is_object()) continue;
      LabMount planned{text_at(mount.get_object(), {"name"}), text_at(mount.get_object(), {"mountPath"}),
                       text_at(mount.get_object(), {"subPath"})};
      if (!pod.volumes.contains(planned.volume)) {
        return make_error(Errc::invalid_argument,
                          "container " + out.name + ": volume " + planned.volume + " is not in spec.volumes");
      }
      out.mounts.push_back(std::move(planned));
    }
  }
  if (const auto* probe = find_object(from, {"readinessProbe"})) {
    auto planned = plan_probe(*probe, out);
    if (!planned) return planned.error();
    out.readiness = std::move(*planned);
  }
  return out;
}

Result<> plan_volumes(const json::object& spec, LabPod& pod) {
  const auto* volumes = find_array(spec, {"volumes"});
  if (!volumes) return {};
  for (const auto& entry : *volumes) {
    if (!entry.is_object()) continue;
    const auto& volume = entry.get_object();
    LabVolume out;
    out.name = text_at(volume, {"name"});
    if (find_object(volume, {"configMap"})) {
      out.kind = LabVolume::Kind::config_map;
      out.source = text_at(volume, {"configMap", "name"});
    } else if (find_object(volume, {"hostPath"})) {
      out.kind = LabVolume::Kind::host_path;
      out.source = text_at(volume, {"hostPath", "path"});
    } else if (!volume.contains("emptyDir")) {
      return make_error(Errc::invalid_argument,
                        "volume " + out.name + ": a lab knows emptyDir, configMap and hostPath only");
    }
    pod.volumes[out.name] = out;
  }
  return {};
}

Result<> plan_containers(const json::object& spec, const char* member, LabPod& pod,
                         std::vector<LabContainer>& out) {
  const auto* containers = find_array(spec, {member});
  if (!containers) return {};
  for (const auto& container : *containers) {
    if (!container.is_object()) return make_error(Errc::invalid_argument, "a container that is no object");
    auto planned = plan_container(container.get_object(), pod);
    if (!planned) return planned.error();
    out.push_back(std::move(*planned));
  }
  return {};
}

}  // namespace

Result<LabPod> plan_pod(const json::object& object) {
  LabPod pod;
  pod.object = object;
  pod.ns = namespace_of(object);
  pod.name = text_at(object, {"metadata", "name"});
  pod.uid = stable_uid("Pod", pod.ns, pod.name);
  pod.labels = string_map(find_object(object, {"metadata", "labels"}));
  pod.annotations = string_map(find_object(object, {"metadata", "annotations"}));
  const auto refuse = [&](const std::string& why) {
    return make_error(Errc::invalid_argument, "Pod " + pod.key() + ": " + why);
  };
  const auto* spec = find_object(object, {"spec"});
  if (!spec) return refuse("spec is missing");
  pod.node = text_at(*spec, {"nodeName"});
  if (const auto account = text_at(*spec, {"serviceAccountName"}); !account.empty())
    pod.service_account = account;
  if (const auto policy = text_at(*spec, {"restartPolicy"}); !policy.empty()) {
    pod.restart_always = policy == "Always";
    pod.restart_on_failure = policy != "Never";
  }
  auto& metadata = object_at(pod.object, "metadata");
  metadata["namespace"] = pod.ns;
  metadata["uid"] = pod.uid;
  object_at(pod.object, "spec")["serviceAccountName"] = pod.service_account;
  if (auto planned = plan_volumes(*spec, pod); !planned) return refuse(planned.error().detail);
  if (auto planned = plan_containers(*spec, "initContainers", pod, pod.init_containers); !planned) {
    return refuse(planned.error().detail);
  }
  if (auto planned = plan_containers(*spec, "containers", pod, pod.containers); !planned) {
    return refuse(planned.error().detail);
  }
  if (pod.containers.empty()) return refuse("spec.containers is empty");
  return pod;
}

Result<LabService> plan_service(const json::object& object, unsigned index) {
  LabService out;
  out.object = object;
  out.ns = namespace_of(object);
  out.name = text_at(object, {"metadata", "name"});
  auto& metadata = object_at(out.object, "metadata");
  metadata["namespace"] = out.ns;
  metadata["uid"] = stable_uid("Service", out.ns, out.name);
  auto& spec = object_at(out.object, "spec");
  out.selector = string_map(find_object(spec, {"selector"}));
  out.publish_not_ready = text_at(spec, {"publishNotReadyAddresses"}) == "true";
  bool ipv4 = true;
  if (const auto* families = find_array(spec, {"ipFamilies"})) {
    const auto names = strings(families);
    out.ipv6 = std::find(names.begin(), names.end(), "IPv6") != names.end();
    ipv4 = names.empty() || std::find(names.begin(), names.end(), "IPv4") != names.end();
  }
  const auto given = text_at(spec, {"clusterIP"});
  if (given != "None" && text_at(spec, {"type"}) != "ExternalName") {
    char hex[8];
    std::snprintf(hex, sizeof hex, "%x", index);
    if (!given.empty()) {
      out.cluster_ips = strings(find_array(spec, {"clusterIPs"}));
      if (out.cluster_ips.empty()) out.cluster_ips = {given};
    } else {
      if (ipv4)
        out.cluster_ips.push_back("10.96." + std::to_string(index / 250) + "." +
                                  std::to_string(index % 250 + 1));
      if (out.ipv6) out.cluster_ips.push_back("fd00:10:96::" + std::string(hex));
    }
    if (out.cluster_ips.empty()) {
      return make_error(Errc::invalid_argument,
                        "Service " + out.ns + "/" + out.name + ": ipFamilies names neither IPv4 nor IPv6");
    }
    json::array ips;
    for (const auto& ip : out.cluster_ips) {
      if (!IpAddress::parse(ip)) {
        return make_error(Errc::invalid_argument,
                          "Service " + out.ns + "/" + out.name + ": " + ip + " is no address");
      }
      ips.push_back(json::value(ip));
    }
    spec["clusterIP"] = out.cluster_ips.front();
    spec["clusterIPs"] = std::move(ips);
  }
  const auto* ports = find_array(spec, {"ports"});
  for (const auto& entry : ports ? *ports : json::array()) {
    if (!entry.is_object()) continue;
    const auto& from = entry.get_object();
    LabServicePort port;
    port.name = text_at(from, {"name"});
    port.port = static_cast<std::uint16_t>(number_at(from, {"port"}, 0));
    port.app_protocol = text_at(from, {"appProtocol"});
    if (const auto protocol = text_at(from, {"protocol"}); !protocol.empty()) port.protocol = protocol;
    const auto* target = from.if_contains("targetPort");
    if (target && target->is_string()) port.target_name = std::string(target->get_string());
    port.target = static_cast<std::uint16_t>(number_at(from, {"targetPort"}, port.port));
    if (port.port == 0) {
      return make_error(Errc::invalid_argument,
                        "Service " + out.ns + "/" + out.name + ": a port without `port`");
    }
    out.ports.push_back(std::move(port));
  }
  return out;
}

}  // namespace heddle::tools
