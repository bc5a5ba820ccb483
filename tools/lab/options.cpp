// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/options.h"

#include <unistd.h>

#include <filesystem>

#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

json::array to_array(const std::vector<std::string>& words) {
  json::array out;
  for (const auto& word : words) out.push_back(json::value(word));
  return out;
}

std::vector<std::string> to_words(const json::value* value) {
  std::vector<std::string> out;
  if (value && value->is_array()) {
    for (const auto& word : value->get_array()) out.emplace_back(word.as_string());
  }
  return out;
}

}  // namespace

json::object to_json(const LabOptions& options) {
  json::object extra;
  for (const auto& [program, flags] : options.extra_flags) extra[program] = to_array(flags);
  return {{"name", options.name},
          {"folder", options.folder},
          {"mesh", options.mesh},
          {"interception", options.interception},
          {"defaultInject", options.default_inject},
          {"binDir", options.bin_dir},
          {"cniBinDirs", to_array(options.cni_bin_dirs)},
          {"logLevel", options.log_level},
          {"extraFlags", std::move(extra)}};
}

LabOptions lab_options_from(const json::object& object) {
  LabOptions out;
  out.name = text_at(object, {"name"});
  out.folder = text_at(object, {"folder"});
  out.mesh = text_at(object, {"mesh"}) == "true";
  out.interception = text_at(object, {"interception"});
  out.default_inject = text_at(object, {"defaultInject"});
  out.bin_dir = text_at(object, {"binDir"});
  out.cni_bin_dirs = to_words(object.if_contains("cniBinDirs"));
  out.log_level = text_at(object, {"logLevel"});
  if (const auto* extra = find_object(object, {"extraFlags"})) {
    for (const auto& [program, flags] : *extra) out.extra_flags[std::string(program)] = to_words(&flags);
  }
  return out;
}

std::string own_program() {
  std::error_code failed;
  return std::filesystem::read_symlink("/proc/self/exe", failed);
}

Result<std::string> find_program(const std::string& name, const std::string& bin_dir) {
  const auto beside = std::filesystem::path(own_program()).parent_path();
  std::vector<std::string> folders;
  if (!bin_dir.empty()) {
    folders = {bin_dir};
  } else {
    folders = {beside.string(), (beside / "../libexec/heddle").string(), "/usr/libexec/heddle"};
  }
  std::string tried;
  for (const auto& folder : folders) {
    auto path = folder + "/" + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
    tried += (tried.empty() ? "" : ", ") + folder;
  }
  return make_error(Errc::not_found,
                    name + " is in none of " + tried + "; build it or name its folder with --bin-dir");
}

}  // namespace heddle::tools
