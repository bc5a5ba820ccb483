// SPDX-License-Identifier: Apache-2.0
// Taking an installation out of a cluster, in the order that leaves nothing behind.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// One object to delete.
struct Removable {
  std::string kind;
  std::string name;
  std::string ns;    // empty: of the cluster as a whole
  std::string path;  // at the API server

  // "DaemonSet heddle/heddle-agent".
  std::string title() const { return kind + " " + (ns.empty() ? "" : ns + "/") + name; }
};

// PURE: where an API server keeps the object: "/apis/apps/v1/namespaces/heddle/daemonsets/heddle-agent".
std::string object_path(const std::string& api_version, const std::string& kind, const std::string& ns,
                        const std::string& name);

// The API server, as the removal needs it.
class RemovalDoor {
 public:
  virtual ~RemovalDoor() = default;
  // Begins to delete an object after what it owns. False: there is none.
  virtual Result<bool> remove(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  // Waits a little before the next look. False: it has taken long enough.
  virtual bool pause() = 0;
};

// What is to go: first the nodes' part, which is waited for (its agents clean their nodes and need their role
// for it), then the rest.
struct RemovalPlan {
  std::vector<Removable> nodes;
  std::vector<Removable> rest;
};

// Deletes and waits until all is gone; `tell` gets a line for each step. If the nodes' part cannot be deleted
// or does not go, the rest stays (Errc::timeout, or the API server's error, with what to do).
Result<> remove_installation(RemovalDoor& door, const RemovalPlan& plan,
                             const std::function<void(const std::string&)>& tell);

}  // namespace heddle::tools
