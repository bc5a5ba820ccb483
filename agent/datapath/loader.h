// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

struct heddle_bpf;  // the skeleton

namespace heddle::agent {

// The programs of the object, by the names used in pins, probes and logs.
inline constexpr const char* all_hooks[] = {"connect4",     "connect6",     "getpeername4", "getpeername6",
                                            "getsockname4", "getsockname6", "sockops",      "getsockopt",
                                            "setsockopt",   "sk_lookup",    "probe_sockops"};
// Maps whose content outlives the agent. `drops` is not among them: each agent reads a buffer of its own.
inline constexpr const char* pinned_maps[] = {"pods",           "addresses",    "listeners",
                                              "node_addresses", "connects",     "probes",
                                              "peers",          "mesh_sockets", "verdicts"};

// The loaded BPF object. The only place that knows the skeleton.
class Object {
 public:
  // Gives the pinned map of that name, or an empty Fd when there is none yet.
  using FindMap = std::function<Result<Fd>(const std::string& name)>;

  // Loads every program. Found maps are used instead of new ones; a found map of another layout is an error.
  static Result<Object> load(const FindMap& find);
  // Loads one program alone, with small maps (feature probe). The error carries the verifier's words.
  static Result<Object> load_only(std::string_view hook);

  Object(Object&&) noexcept;
  Object& operator=(Object&&) noexcept;
  ~Object();

  // Descriptors stay owned by the object. -1 for an unknown name.
  int program(std::string_view hook) const;
  int map(std::string_view name) const;

 private:
  explicit Object(heddle_bpf* skeleton);
  heddle_bpf* skeleton_;
};

// The bpf_attach_type of a hook.
int attach_type(std::string_view hook);

}  // namespace heddle::agent
