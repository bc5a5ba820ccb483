// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/commands/command.h"

namespace heddle::tools {

// PURE: one line of a check. A warning does not fail it.
struct Verdict {
  enum class Level { ok, warning, failure };
  Level level = Level::ok;
  std::string code;  // of check_codes()
  std::string node;  // empty: the machine or cluster as a whole
  std::string what;
  std::string detail;  // what was found

  bool operator==(const Verdict&) const = default;
};

// What a check found, in order, and how it is told.
class Verdicts {
 public:
  // What is added from now on is about this node.
  void about(std::string node) { node_ = std::move(node); }

  void ok(std::string_view code, const std::string& what, const std::string& detail = {}) {
    add(Verdict::Level::ok, code, what, detail);
  }
  void warn(std::string_view code, const std::string& what, const std::string& detail) {
    add(Verdict::Level::warning, code, what, detail);
  }
  void fail(std::string_view code, const std::string& what, const std::string& detail) {
    add(Verdict::Level::failure, code, what, detail);
  }
  void judge(bool good, std::string_view code, const std::string& what, const std::string& found,
             const std::string& otherwise) {
    good ? ok(code, what, found) : fail(code, what, otherwise);
  }
  void add(Verdict verdict) { list_.push_back(std::move(verdict)); }

  const std::vector<Verdict>& list() const { return list_; }
  bool good() const;
  // `wide` is as `table`; `short_list` leaves out what is well.
  std::string render(Output output) const;

 private:
  void add(Verdict::Level level, std::string_view code, const std::string& what, const std::string& detail) {
    list_.push_back({level, std::string(code), node_, what, detail});
  }
  std::string as_table(bool all) const;
  std::string as_document(Output output) const;
  std::string as_junit() const;

  std::string node_;
  std::vector<Verdict> list_;
};

// The verdicts of a document that render(Output::json) made; anything else in it is left out.
std::vector<Verdict> verdicts_of(std::string_view json_document);

}  // namespace heddle::tools
