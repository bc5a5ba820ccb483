// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>

#include "tools/lab/plan.h"

namespace heddle::tools {

// One Pod object; its node may be left empty (the planner chooses one).
Result<LabPod> plan_pod(const boost::json::object& object);
// One Service object. `index` picks the cluster addresses of those that name none: 10.96.0.INDEX,
// fd00:10:96::INDEX.
Result<LabService> plan_service(const boost::json::object& object, unsigned index);

// Walking JSON objects; anything of another type counts as absent.
const boost::json::object* find_object(const boost::json::object& from,
                                       std::initializer_list<const char*> path);
const boost::json::array* find_array(const boost::json::object& from,
                                     std::initializer_list<const char*> path);
// Strings as they are, numbers and booleans in their JSON spelling, everything else empty.
std::string text_at(const boost::json::object& from, std::initializer_list<const char*> path);
// The member, made an object if it was not one.
boost::json::object& object_at(boost::json::object& parent, const char* name);
// metadata.namespace or "default".
std::string namespace_of(const boost::json::object& object);
std::map<std::string, std::string> string_map(const boost::json::object* object);

}  // namespace heddle::tools
