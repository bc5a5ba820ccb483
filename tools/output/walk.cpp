// SPDX-License-Identifier: Apache-2.0
#include "tools/output/walk.h"

namespace heddle::tools {

namespace json = boost::json;

const json::value* find_value(const json::object& from, std::initializer_list<const char*> path) {
  const json::object* at = &from;
  const json::value* found = nullptr;
  for (const char* step : path) {
    if (!at) return nullptr;
    found = at->if_contains(step);
    if (!found) return nullptr;
    at = found->if_object();
  }
  return found;
}

std::string spelled(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_null() || value.is_object() || value.is_array()) return {};
  return json::serialize(value);
}

const json::object* find_object(const json::object& from, std::initializer_list<const char*> path) {
  const auto* value = find_value(from, path);
  return value ? value->if_object() : nullptr;
}

const json::array* find_array(const json::object& from, std::initializer_list<const char*> path) {
  const auto* value = find_value(from, path);
  return value ? value->if_array() : nullptr;
}

std::string text_at(const json::object& from, std::initializer_list<const char*> path) {
  const auto* value = find_value(from, path);
  return value ? spelled(*value) : std::string();
}

json::object& object_at(json::object& parent, const char* name) {
  auto& member = parent[name];
  if (!member.is_object()) member.emplace_object();
  return member.get_object();
}

std::string namespace_of(const json::object& object) {
  auto ns = text_at(object, {"metadata", "namespace"});
  return ns.empty() ? "default" : ns;
}

std::map<std::string, std::string> string_map(const json::object* object) {
  std::map<std::string, std::string> out;
  if (object) {
    for (const auto& [name, value] : *object) out[std::string(name)] = spelled(value);
  }
  return out;
}

}  // namespace heddle::tools
