// SPDX-License-Identifier: Apache-2.0
#include "cni/conflist.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <vector>

#include "cni/json_text.h"
#include "cni/version.h"

namespace heddle::cni {
namespace {

namespace json = boost::json;

Error refuse(std::string why) {
  return make_error(Errc::invalid_argument, std::move(why));
}

Result<json::object> parse_object(std::string_view text) {
  if (text.size() > max_conflist_bytes) return refuse("it is larger than 1 MiB");
  boost::system::error_code ec;
  auto value = json::parse({text.data(), text.size()}, ec);
  if (ec) return refuse("it is not valid JSON (" + ec.message() + "); correct it by hand");
  if (!value.is_object()) return refuse("it is not a JSON object; correct it by hand");
  return std::move(value.get_object());
}

bool is_ours(const json::value& plugin) {
  const json::value* type = plugin.is_object() ? plugin.get_object().if_contains("type") : nullptr;
  return type != nullptr && type->is_string() && std::string_view(type->get_string()) == plugin_type;
}

std::string string_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// A list that was understood: where its plugins lie and which of them are heddle's.
struct List {
  std::string text;
  std::vector<Span> plugins;
  std::vector<bool> ours;
  json::array values;
};

Result<List> parse_list(std::string_view text) {
  auto object = parse_object(text);
  if (!object) return object.error();
  const json::value* plugins = object->if_contains("plugins");
  if (plugins == nullptr || !plugins->is_array() || plugins->get_array().empty()) {
    return refuse("it has no list of 'plugins'; put the main network plugin there first");
  }
  List out{std::string(text), {}, {}, plugins->get_array()};
  const auto array = member(text, document(text), "plugins");
  if (array) out.plugins = elements(text, *array);
  if (out.plugins.size() != out.values.size())
    return make_error(Errc::internal, "its plugins were not found");
  for (const json::value& plugin : out.values) {
    if (!plugin.is_object()) return refuse("an element of 'plugins' is not an object; correct it by hand");
    out.ours.push_back(is_ours(plugin));
  }
  return out;
}

Result<> check_version(std::string_view text) {
  const auto object = parse_object(text);
  if (!object) return object.error();
  const std::string version = string_of(*object, "cniVersion");
  if (version.empty() && object->contains("cniVersions")) return {};
  if (parse_version(version)) return {};
  return refuse(
      "its cniVersion '" + version.substr(0, 32) +
      "' is not one heddle-cni speaks (0.3.1, 0.4.0, 1.0.0, 1.1.0); change it in the main network's "
      "configuration");
}

// What stands between the last plugin and what precedes it, so that the new one is indented alike.
std::string space_before(std::string_view text, std::size_t at) {
  const std::size_t end = text.find_last_not_of(" \t\r\n", at - 1);
  return std::string(text.substr(end + 1, at - end - 1));
}

// The entry with our keys as they shall be; those that somebody added (timeoutMs, say) stay.
json::object merged(json::object present, std::string_view entry) {
  boost::system::error_code ec;
  const json::value wanted = json::parse({entry.data(), entry.size()}, ec);
  if (ec || !wanted.is_object()) return present;
  for (const auto& [key, value] : wanted.get_object()) present[key] = value;
  for (const char* key : {"logFile", "controlNamespace", "excludedNamespaces"}) {
    if (!wanted.get_object().contains(key)) present.erase(key);
  }
  return present;
}

Result<std::string> append_plugin(const List& list, std::string_view entry) {
  const Span last = list.plugins.back();
  std::string out = list.text;
  out.insert(last.end, "," + space_before(list.text, last.begin) + std::string(entry));
  return out;
}

}  // namespace

std::string entry_text(const PluginEntry& entry) {
  json::object out;
  out["type"] = plugin_type;
  out["runDir"] = entry.run_dir;
  if (!entry.log_file.empty()) out["logFile"] = entry.log_file;
  const PluginEntry defaults;
  if (entry.control_namespace != defaults.control_namespace) {
    out["controlNamespace"] = entry.control_namespace;
  }
  if (entry.excluded_namespaces != defaults.excluded_namespaces) {
    json::array& names = out["excludedNamespaces"].emplace_array();
    for (const std::string& name : entry.excluded_namespaces) names.emplace_back(name);
  }
  out["capabilities"] = json::object{{"io.kubernetes.cri.pod-annotations", true}};
  return json::serialize(out);
}

Result<bool> has_plugin(std::string_view list) {
  const auto parsed = parse_list(list);
  if (!parsed) return parsed.error();
  return std::find(parsed->ours.begin(), parsed->ours.end(), true) != parsed->ours.end();
}

Result<std::string> add_plugin(std::string_view list, std::string_view entry) {
  if (auto checked = check_version(list); !checked) return checked.error();
  const auto parsed = parse_list(list);
  if (!parsed) return parsed.error();
  const auto count = std::count(parsed->ours.begin(), parsed->ours.end(), true);
  if (count == 0) return append_plugin(*parsed, entry);
  if (count == 1 && !parsed->ours.front()) {
    const auto index = std::find(parsed->ours.begin(), parsed->ours.end(), true) - parsed->ours.begin();
    const json::object& present = parsed->values[static_cast<std::size_t>(index)].get_object();
    const json::object wanted = merged(present, entry);
    if (present == wanted) return std::string(list);
    const Span old = parsed->plugins[static_cast<std::size_t>(index)];
    std::string out = parsed->text;
    out.replace(old.begin, old.end - old.begin, json::serialize(wanted));
    return out;
  }
  const auto without = remove_plugin(list);
  if (!without) return without.error();
  return add_plugin(*without, entry);
}

Result<std::string> remove_plugin(std::string_view list) {
  auto parsed = parse_list(list);
  if (!parsed) return parsed.error();
  if (std::find(parsed->ours.begin(), parsed->ours.end(), false) == parsed->ours.end()) {
    return refuse("heddle-cni is its only plugin; put the main network plugin before it or delete the file");
  }
  std::string out = parsed->text;
  for (std::size_t i = parsed->plugins.size(); i-- > 0;) {  // from the end: earlier places stay valid
    if (!parsed->ours[i]) continue;
    // Together with the comma before it; leading ones lose the comma after them.
    const bool leading =
        std::find(parsed->ours.begin(), parsed->ours.begin() + static_cast<std::ptrdiff_t>(i), false) ==
        parsed->ours.begin() + static_cast<std::ptrdiff_t>(i);
    const std::size_t begin = leading ? parsed->plugins[i].begin : parsed->plugins[i - 1].end;
    const std::size_t end = leading ? parsed->plugins[i + 1].begin : parsed->plugins[i].end;
    out.erase(begin, end - begin);
  }
  return out;
}

Result<std::string> list_from_conf(std::string_view conf) {
  const auto object = parse_object(conf);
  if (!object) return object.error();
  const std::string name = string_of(*object, "name");
  const std::string type = string_of(*object, "type");
  if (type.empty() || type == plugin_type) return refuse("it names no main network plugin as 'type'");
  if (name.empty()) return refuse("it has no 'name'; give the network one");
  std::string version = string_of(*object, "cniVersion");
  if (!parse_version(version)) version = supported_versions.front();
  const Span body = document(conf);
  return "{\n  \"cniVersion\": " + json::serialize(json::value(version)) +
         ",\n  \"name\": " + json::serialize(json::value(name)) + ",\n  \"plugins\": [\n    " +
         std::string(body.of(conf)) + "\n  ]\n}\n";
}

}  // namespace heddle::cni
