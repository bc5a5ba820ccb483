// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/remove.h"

#include <algorithm>
#include <cctype>

namespace heddle::tools {
namespace {

using Tell = std::function<void(const std::string&)>;

std::string plural(const std::string& kind) {
  std::string out;
  for (const char c : kind) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (out.ends_with("y")) {
    out.back() = 'i';
    return out + "es";
  }
  return out + "s";
}

std::string titles(const std::vector<const Removable*>& objects) {
  std::string out;
  for (const auto* object : objects) out += (out.empty() ? "" : ", ") + object->title();
  return out;
}

// What was there. The first error ends it only after every object was tried.
Result<std::vector<const Removable*>> delete_all(RemovalDoor& door, const std::vector<Removable>& objects,
                                                 const Tell& tell) {
  std::vector<const Removable*> out;
  Result<> failed;
  for (const auto& object : objects) {
    const auto there = door.remove(object.path);
    if (!there) {
      tell(object.title() + ": " + there.error().message());
      if (failed) failed = there.error();
    } else if (*there) {
      tell("deleting " + object.title());
      out.push_back(&object);
    }
  }
  if (!failed) return failed.error();
  return out;
}

// What is still there when the time is over; an API server that does not answer is asked again.
std::vector<const Removable*> wait_until_gone(RemovalDoor& door, std::vector<const Removable*> left,
                                              const Tell& tell) {
  while (true) {
    std::erase_if(left, [&](const Removable* object) {
      const auto there = door.exists(object->path);
      const bool gone = there && !*there;
      if (gone) tell(object->title() + " is gone");
      return gone;
    });
    if (left.empty() || !door.pause()) return left;
  }
}

}  // namespace

std::string object_path(const std::string& api_version, const std::string& kind, const std::string& ns,
                        const std::string& name) {
  const bool core = api_version.find('/') == std::string::npos;
  return (core ? "/api/" : "/apis/") + api_version + (ns.empty() ? "" : "/namespaces/" + ns) + "/" +
         plural(kind) + "/" + name;
}

Result<> remove_installation(RemovalDoor& door, const RemovalPlan& plan, const Tell& tell) {
  auto nodes = delete_all(door, plan.nodes, tell);
  if (!nodes)
    return make_error(Errc::permission_denied,
                      "nodes still run heddle, so the rest was left: " + nodes.error().message());
  if (!nodes->empty()) tell("waiting until agents have left their nodes");
  const auto staying = wait_until_gone(door, std::move(*nodes), tell);
  if (!staying.empty()) {
    return make_error(Errc::timeout,
                      "still there: " + titles(staying) +
                          "; see `kubectl get pods -A -o wide -l app.kubernetes.io/name=heddle`, and try "
                          "again. Without nodes that do not answer: `heddle uninstall | kubectl delete "
                          "--ignore-not-found -f -`");
  }
  auto rest = delete_all(door, plan.rest, tell);
  if (!rest) return rest.error();
  const auto left = wait_until_gone(door, std::move(*rest), tell);
  if (!left.empty())
    return make_error(Errc::timeout, "still there: " + titles(left) + "; look at its status");
  return {};
}

}  // namespace heddle::tools
