// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/pods/annotations.h"
#include "base/ip.h"
#include "base/result.h"

// What heddle-cni asks, checked; and the codes it is answered with. Pure (protobuf aside).
namespace heddle::agent {

enum class CniCommand : std::uint8_t { add, del, check, gc, status };
std::string_view to_string(CniCommand command);

struct CniCall {
  CniCommand command = CniCommand::status;
  std::string container_id;
  std::string netns_path;
  std::string ifname;
  std::string pod_namespace;
  std::string pod_name;
  std::string pod_uid;
  std::vector<IpAddress> ips;
  Annotations annotations;
  bool annotations_told = false;  // the runtime passes the pod's annotations, these or others
  std::string network;
  std::vector<std::pair<std::string, std::string>> valid_attachments;  // container id, ifname
};

// The specification's codes, and from 100 on heddle's own (docs/agent.md).
enum class CniCode : std::uint32_t {
  ok = 0,
  unknown_container = 3,
  invalid_environment = 4,
  decode_failure = 6,
  try_again = 11,
  not_available = 50,
  not_captured = 100,  // interception cannot be set up for this pod
  port_taken = 101,    // something listens on heddle's ports in the pod's netns
  too_many_pods = 102,
  not_allowed = 103,   // the caller is not root
  check_failed = 104,  // CHECK found something missing
};

struct CniAnswer {
  CniCode code = CniCode::ok;
  std::string msg;
  std::string details;
  bool meshed = false;
};

// Errc::invalid_argument names the field. ADD and CHECK need one descriptor beside them, DEL may have one.
Result<CniCall> decode_cni_call(std::string_view bytes, std::size_t descriptors);
std::string encode_cni_answer(const CniAnswer& answer);

// The answer to an ADD that failed for this reason.
CniAnswer explain_failure(const Error& error);

}  // namespace heddle::agent
