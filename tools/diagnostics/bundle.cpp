// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/bundle.h"

#include <algorithm>

#include "tools/diagnostics/scrub.h"
#include "tools/output/json.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// Whole lines of the beginning or end, when that is possible.
std::string shortened(std::string text, std::size_t bound, bool newest_last) {
  if (newest_last) {
    const auto line = text.find('\n', text.size() - bound);
    return text.substr(line == std::string::npos ? text.size() - bound : line + 1);
  }
  const auto line = text.rfind('\n', bound);
  text.resize(line == std::string::npos || line == 0 ? bound : std::min(bound, line + 1));
  return text;
}

// Names of objects make up paths: nothing of them may leave the folder.
std::string safe_path(const std::string& path) {
  std::string out;
  std::size_t start = 0;
  while (start <= path.size()) {
    const auto end = std::min(path.find('/', start), path.size());
    std::string part = path.substr(start, end - start);
    for (char& c : part) {
      if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7f) c = '_';
    }
    if (part == "." || part == ".." || part.empty()) part = "_";
    out += (out.empty() ? "" : "/") + part.substr(0, 90);
    start = end + 1;
  }
  return out;
}

}  // namespace

std::string time_text(std::time_t at) {
  std::tm parts{};
  ::gmtime_r(&at, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

void Bundle::add_text(const std::string& path, std::string_view text, const std::string& source,
                      bool newest_last) {
  keep(path, scrub_text(text), source, newest_last);
}

void Bundle::add_json(const std::string& path, json::value value, const std::string& source) {
  scrub_json(value);
  keep(path, json_text(value, true) + "\n", source, false);
}

void Bundle::keep(const std::string& path, std::string text, const std::string& source, bool newest_last) {
  const auto safe = safe_path(path);
  const auto whole = text.size();
  if (whole > bounds_.file) text = shortened(std::move(text), bounds_.file, newest_last);
  if (files_.size() >= bounds_.files || size_ + text.size() > bounds_.all)
    return missing(safe, "the bundle is full; ask for less with --namespace or --since");
  size_ += text.size();
  json::object entry{{"path", safe}, {"bytes", text.size()}, {"source", source}};
  if (text.size() < whole) entry["cutFromBytes"] = whole;
  listed_.push_back(std::move(entry));
  files_.push_back({safe, std::move(text)});
}

void Bundle::missing(const std::string& what, const std::string& why) {
  missing_.push_back(json::object{{"what", what}, {"why", scrub_text(why)}});
}

void Bundle::rename() {
  for (auto& file : files_) file = {names_.apply(file.path), names_.apply(file.text)};
  for (auto* list : {&listed_, &missing_}) {
    for (auto& entry : *list) {
      for (auto& [key, value] : entry.get_object()) {
        if (value.is_string()) value = json::string(names_.apply(value.get_string()));
      }
    }
  }
  about_["renamed"] = true;
}

json::object Bundle::manifest(std::time_t at) const {
  json::object out{{"format", 1}, {"madeAt", time_text(at)}, {"complete", complete()}};
  for (const auto& [key, value] : about_) out[key] = value;
  out["redaction"] = json::array{"Secrets are not read",
                                 "of applications' objects only known fields: no environment, command, "
                                 "foreign annotation or termination message",
                                 "private keys, tokens, passwords and values of URLs' queries in logs, dumps "
                                 "and metrics are replaced by " +
                                     std::string(redacted)};
  out["missing"] = missing_;
  out["files"] = listed_;
  return out;
}

Result<std::string> Bundle::archive(const std::string& folder, std::time_t at) const {
  std::vector<ArchivedFile> files;
  files.reserve(files_.size() + 1);
  files.push_back({folder + "/manifest.json", json_text(manifest(at), true) + "\n"});
  for (const auto& file : files_) files.push_back({folder + "/" + file.path, file.text});
  return tar_gz(files, at);
}

}  // namespace heddle::tools
