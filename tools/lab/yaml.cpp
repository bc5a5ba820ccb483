// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/yaml.h"

#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <boost/json.hpp>
#include <charconv>
#include <filesystem>

#include "base/io/file.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr int max_depth = 64;
constexpr int max_nodes = 200'000;

json::value scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return json::value(text);  // quoted
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.empty() || text == "~" || text == "null") return nullptr;
  std::int64_t integer = 0;
  const char* end = text.data() + text.size();
  if (const auto parsed = std::from_chars(text.data(), end, integer);
      parsed.ec == std::errc{} && parsed.ptr == end) {
    return integer;
  }
  const bool numeric = text.find_first_not_of("0123456789+-.eE") == std::string::npos &&
                       text.find_first_of("0123456789") != std::string::npos;
  double real = 0;
  if (numeric) {
    const auto parsed = std::from_chars(text.data(), end, real);
    if (parsed.ec == std::errc{} && parsed.ptr == end) return real;
  }
  return json::value(text);
}

class Converter {
 public:
  Result<json::value> convert(const YAML::Node& node, int depth) {
    if (depth > max_depth) return make_error(Errc::exhausted, "nested more than 64 deep");
    if (++nodes_ > max_nodes) return make_error(Errc::exhausted, "more than 200000 nodes");
    if (node.IsScalar()) return scalar(node);
    if (node.IsSequence()) {
      json::array out;
      for (const auto& child : node) {
        auto value = convert(child, depth + 1);
        if (!value) return value.error();
        out.push_back(std::move(*value));
      }
      return json::value(std::move(out));
    }
    if (node.IsMap()) {
      json::object out;
      for (const auto& entry : node) {
        if (!entry.first.IsScalar()) return make_error(Errc::invalid_argument, "a key that is no string");
        auto value = convert(entry.second, depth + 1);
        if (!value) return value.error();
        out[entry.first.Scalar()] = std::move(*value);
      }
      return json::value(std::move(out));
    }
    return json::value(nullptr);
  }

 private:
  int nodes_ = 0;
};

Result<> add_document(json::value document, std::vector<json::object>& out) {
  if (document.is_null()) return {};
  if (!document.is_object())
    return make_error(Errc::invalid_argument, "a document that is no Kubernetes object");
  auto& object = document.get_object();
  const auto* kind = object.if_contains("kind");
  if (!kind || !kind->is_string() || kind->get_string().empty()) {
    return make_error(Errc::invalid_argument, "an object without `kind`");
  }
  if (!kind->get_string().ends_with("List")) {
    out.push_back(std::move(object));
    return {};
  }
  auto* items = object.if_contains("items");
  if (!items || !items->is_array()) return make_error(Errc::invalid_argument, "a List without `items`");
  for (auto& item : items->get_array()) {
    if (auto added = add_document(std::move(item), out); !added) return added;
  }
  return {};
}

}  // namespace

Result<std::vector<json::object>> parse_objects(std::string_view text, const std::string& origin) {
  std::vector<json::object> out;
  const auto refuse = [&](const std::string& why) {
    return make_error(Errc::invalid_argument, origin + ": " + why);
  };
  try {
    Converter converter;
    for (const auto& document : YAML::LoadAll(std::string(text))) {
      auto value = converter.convert(document, 0);
      if (!value) return refuse(value.error().detail);
      if (auto added = add_document(std::move(*value), out); !added) return refuse(added.error().detail);
    }
  } catch (const YAML::Exception& error) {
    return refuse("line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  return out;
}

Result<json::object> parse_map(std::string_view text, const std::string& origin) {
  const auto refuse = [&](const std::string& why) {
    return make_error(Errc::invalid_argument, origin + ": " + why);
  };
  try {
    const auto documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) return refuse("more than one document");
    Result<json::value> value = json::value(nullptr);
    if (!documents.empty()) value = Converter().convert(documents.front(), 0);
    if (!value) return refuse(value.error().detail);
    if (value->is_null()) return json::object{};
    if (!value->is_object()) return refuse("is no map of keys and values");
    return std::move(value->get_object());
  } catch (const YAML::Exception& error) {
    return refuse("line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
}

Result<std::vector<json::object>> load_objects(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code failed;
  if (fs::is_directory(path, failed)) {
    for (const auto& entry : fs::directory_iterator(path, failed)) {
      const auto extension = entry.path().extension();
      if (extension == ".yaml" || extension == ".yml" || extension == ".json") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    if (files.empty()) {
      return make_error(Errc::not_found,
                        path + " holds no .yaml, .yml or .json file; put Kubernetes objects there");
    }
  } else {
    files.push_back(path);
  }
  std::vector<json::object> out;
  for (const auto& file : files) {
    auto text = read_file(file);
    if (!text) return text.error();
    auto objects = parse_objects(*text, file);
    if (!objects) return objects.error();
    std::move(objects->begin(), objects->end(), std::back_inserter(out));
  }
  return out;
}

}  // namespace heddle::tools
