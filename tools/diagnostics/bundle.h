// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/diagnostics/archive.h"
#include "tools/diagnostics/names.h"

namespace heddle::tools {

// What was collected, in memory, and what could not be. Every file is scrubbed before it is cut to its bound,
// so that half a key does not escape by having lost its beginning. One thread.
class Bundle {
 public:
  struct Bounds {
    std::size_t file = std::size_t{4} << 20U;   // bytes of one file
    std::size_t all = std::size_t{256} << 20U;  // of all files before compression
    std::size_t files = 20'000;
  };
  Bundle() : Bundle(Bounds{}) {}
  explicit Bundle(Bounds bounds) : bounds_(bounds) {}

  // A file of `path`, whose parts may be names of objects; `source` says where it came from. Text that is too
  // long loses its beginning (`newest_last`: a log) or its end. The value becomes indented JSON.
  void add_text(const std::string& path, std::string_view text, const std::string& source,
                bool newest_last = false);
  void add_json(const std::string& path, boost::json::value value, const std::string& source);
  // Something that should be here and is not, and why. It makes the bundle incomplete.
  void missing(const std::string& what, const std::string& why);
  // A word for the manifest: {"since": "24h"}.
  void say(const std::string& key, boost::json::value value) { about_[key] = std::move(value); }

  // What rename() replaces: whoever adds a file adds the names in it.
  Names& names() { return names_; }
  // Replaces all of them in everything that was added. Once, at the end.
  void rename();

  const std::vector<ArchivedFile>& files() const { return files_; }
  // Whatever was asked for is in it.
  bool complete() const { return missing_.empty(); }
  std::size_t missing_count() const { return missing_.size(); }
  std::size_t file_count() const { return files_.size(); }

  // manifest.json and the files, all below a folder of the name `folder`.
  Result<std::string> archive(const std::string& folder, std::time_t at) const;
  boost::json::object manifest(std::time_t at) const;

 private:
  void keep(const std::string& path, std::string text, const std::string& source, bool newest_last);

  Bounds bounds_;
  std::size_t size_ = 0;
  std::vector<ArchivedFile> files_;
  boost::json::array listed_;  // of the manifest: a file each
  boost::json::array missing_;
  boost::json::object about_;
  Names names_;
};

// "2026-11-28T09:00:00Z".
std::string time_text(std::time_t at);

}  // namespace heddle::tools
