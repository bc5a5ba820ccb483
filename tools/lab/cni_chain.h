// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// The runtime's half of the CNI specification (1.0.0, section 4), as far as a lab needs it: one network
// configuration list, its plugins run in order for ADD and in reverse for DEL, prevResult handed on.

struct CniAttachment {
  std::string container_id;
  std::string netns;  // path; empty on a DEL for a namespace that is gone
  std::string ifname = "eth0";
  std::string args;                  // CNI_ARGS, "K8S_POD_NAME=web;..."
  boost::json::object capabilities;  // runtimeConfig by capability name: portMappings, pod annotations, ...
};

// Where and how plugins run.
struct CniRuntime {
  std::vector<std::string> bin_folders;
  int node_netns = -1;       // plugins run in it; not owned
  std::string cgroup;        // plugins run in it (the kubelet's, say); empty: the caller's
  std::string cache_folder;  // results are kept here for DEL and CHECK
};

// The configuration that plugin `index` of the list gets on stdin. Pure. `previous` may be null.
boost::json::object cni_plugin_config(const boost::json::object& list, std::size_t index,
                                      const boost::json::value& previous,
                                      const boost::json::object& capabilities);

// A plugin's stdout after a failure, as one sentence: "msg (code N): details".
std::string cni_error_text(const std::string& out);

// Addresses without prefix length of a result's `ips`, IPv4 first.
std::vector<std::string> cni_result_ips(const boost::json::value& result);

struct CniFailure {
  std::string plugin;
  int code = 0;  // the CNI error's code; 11 means "try again later"
};

// ADD. On a failure everything added so far is deleted again and the error names the plugin; `failure` (may
// be null) gets its code.
Result<boost::json::value> cni_add(const CniRuntime& runtime, const boost::json::object& list,
                                   const CniAttachment& attachment, CniFailure* failure = nullptr);
// DEL: all plugins are run even when one fails; the first error is returned.
Result<> cni_del(const CniRuntime& runtime, const boost::json::object& list, const CniAttachment& attachment);
Result<> cni_check(const CniRuntime& runtime, const boost::json::object& list,
                   const CniAttachment& attachment);

}  // namespace heddle::tools
