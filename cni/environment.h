// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "cni/outcome.h"

// What a runtime says in environment variables (CNI specification, "Parameters"). PURE: the variables are
// passed in.
namespace heddle::cni {

using Variables = std::map<std::string, std::string, std::less<>>;

enum class Command { add, del, check, gc, status, version };
std::string_view name_of(Command command);

// From CNI_ARGS, as Kubernetes' runtimes fill it; empty elsewhere.
struct PodName {
  std::string name_space;
  std::string name;
  std::string uid;
};

struct Environment {
  Command command = Command::version;
  std::string container_id;
  std::string netns;  // a path, empty for a DEL whose namespace is gone
  std::string ifname;
  PodName pod;
  bool own_netns_allowed = false;  // CNI_NETNS_OVERRIDE
};

// Code::invalid_environment names the variable and what it should hold. Each command requires what the
// specification requires of it, CNI_PATH apart: this plugin runs no other.
Outcome<Environment> parse_environment(const Variables& variables);

// "K1=V1;K2=V2" in any order. Unknown keys are ignored whether IgnoreUnknown is given or not: a chained
// plugin has no say in what others are told.
Outcome<PodName> parse_cni_args(std::string_view args);

}  // namespace heddle::cni
