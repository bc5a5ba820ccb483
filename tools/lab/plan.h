// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace heddle::tools {

// What a lab is made of, worked out from Kubernetes objects alone: no socket, clock or file is touched here,
// and the same objects always give the same plan (addresses, uids and generated names included).

struct LabNode {
  std::string name;
  unsigned index = 1;          // from 1, in order of appearance
  IpAddress ip4, ip6;          // 172.30.0.(10+index), fd00:172:30::(10+index)
  std::string pods4, pods6;    // 10.244.INDEX.0/24, fd00:10:244:INDEX::/64
  boost::json::object object;  // the Node, with addresses and podCIDRs filled in
};

struct LabProbe {
  enum class Kind { none, http, tcp, exec };
  Kind kind = Kind::none;
  std::string host;  // empty: the pod's address
  std::string path = "/";
  std::uint16_t port = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::string> command;
  unsigned initial_delay_s = 0, period_s = 10, timeout_s = 1, failure_threshold = 3, success_threshold = 1;
};

struct LabMount {
  std::string volume;
  std::string path;
  std::string sub_path;
};

struct LabContainer {
  std::string name;
  std::vector<std::string> argv;  // command and args, $(NAME) expanded
  std::map<std::string, std::string> env;
  std::string working_directory;
  std::optional<unsigned> uid, gid;
  std::map<std::string, std::uint16_t> ports;  // name -> containerPort
  std::vector<LabMount> mounts;
  LabProbe readiness;
};

struct LabVolume {
  enum class Kind { empty_dir, config_map, host_path };
  std::string name;
  Kind kind = Kind::empty_dir;
  std::string source;  // config map's name or the host's path
};

struct LabPod {
  std::string ns, name, uid, node, service_account = "default";
  std::map<std::string, std::string> labels, annotations;
  std::vector<LabContainer> init_containers, containers;
  std::map<std::string, LabVolume> volumes;
  bool restart_always = true;  // restartPolicy Always or OnFailure/Never
  bool restart_on_failure = true;
  boost::json::array port_mappings;  // the portmap plugin's: hostPort, containerPort, protocol
  boost::json::object object;        // the Pod without status

  std::string key() const { return ns + "/" + name; }
};

struct LabServicePort {
  std::string name;
  std::uint16_t port = 0;
  std::string target_name;  // set: the container port of that name
  std::uint16_t target = 0;
  std::string protocol = "TCP";
  std::string app_protocol;
};

struct LabService {
  std::string ns, name;
  std::vector<std::string> cluster_ips;  // empty: headless
  std::map<std::string, std::string> selector;
  std::vector<LabServicePort> ports;
  bool publish_not_ready = false;
  bool ipv6 = false;           // an EndpointSlice of IPv6 too
  boost::json::object object;  // with clusterIP(s) filled in
};

struct LabPlan {
  std::vector<LabNode> nodes;
  std::vector<LabPod> pods;
  std::vector<LabService> services;
  std::map<std::string, std::map<std::string, std::string>> config_maps;  // "ns/name" -> file -> content
  std::vector<boost::json::object>
      others;  // handed to heddle unchanged: Namespace, ServiceAccount, EndpointSlice, ...
  std::vector<std::string> ignored;  // "Kind ns/name", kinds the lab does nothing with
};

// Errc::invalid_argument names the object and what to change. A folder without a Node gets one named
// "node-1".
Result<LabPlan> make_plan(const std::vector<boost::json::object>& objects);

// A stable UID in Kubernetes' form for an object of this kind, namespace and name.
std::string stable_uid(std::string_view kind, std::string_view ns, std::string_view name);

// Whether every selector entry is among the labels; an empty selector matches nothing (as a Service's does).
bool selects(const std::map<std::string, std::string>& selector,
             const std::map<std::string, std::string>& labels);

}  // namespace heddle::tools
