// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <initializer_list>
#include <map>
#include <string>

namespace heddle::tools {

// Walking JSON objects; anything of another type counts as absent.
const boost::json::value* find_value(const boost::json::object& from,
                                     std::initializer_list<const char*> path);
const boost::json::object* find_object(const boost::json::object& from,
                                       std::initializer_list<const char*> path);
const boost::json::array* find_array(const boost::json::object& from,
                                     std::initializer_list<const char*> path);
// Strings as they are, numbers and booleans in their JSON spelling, everything else empty.
std::string spelled(const boost::json::value& value);
std::string text_at(const boost::json::object& from, std::initializer_list<const char*> path);
// The member, made an object if it was not one.
boost::json::object& object_at(boost::json::object& parent, const char* name);
// metadata.namespace or "default".
std::string namespace_of(const boost::json::object& object);
std::map<std::string, std::string> string_map(const boost::json::object* object);

}  // namespace heddle::tools
