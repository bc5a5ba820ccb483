// SPDX-License-Identifier: Apache-2.0
#include "tools/check/verdicts.h"

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "tools/check/codes.h"
#include "tools/output/document.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr const char* words[] = {"ok", "warning", "failure"};

const char* word_of(Verdict::Level level) {
  return words[static_cast<int>(level)];
}

std::string hint_of(const Verdict& verdict) {
  const auto* code = find_check_code(verdict.code);
  return code && verdict.level != Verdict::Level::ok ? std::string(code->hint) : std::string();
}

std::string title(const Verdict& verdict) {
  return verdict.node.empty() ? verdict.what : verdict.node + ": " + verdict.what;
}

// XML 1.0 has no way to write most control characters.
std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

}  // namespace

bool Verdicts::good() const {
  return std::ranges::none_of(list_, [](const Verdict& v) { return v.level == Verdict::Level::failure; });
}

std::string Verdicts::render(Output output) const {
  switch (output) {
    case Output::json:
    case Output::yaml:
      return as_document(output);
    case Output::junit:
      return as_junit();
    case Output::short_list:
      return as_table(false);
    default:
      return as_table(true);
  }
}

std::string Verdicts::as_table(bool all) const {
  Table table({"RESULT", "CODE", "CHECK", "DETAIL"});
  std::set<std::string> hints;
  std::string told;
  for (const auto& verdict : list_) {
    if (!all && verdict.level == Verdict::Level::ok) continue;
    table.add({verdict.level == Verdict::Level::failure ? "FAIL" : word_of(verdict.level), verdict.code,
               title(verdict), verdict.detail});
    const auto hint = hint_of(verdict);
    if (!hint.empty() && hints.insert(verdict.code).second) told += "  " + verdict.code + "  " + hint + "\n";
  }
  std::string out = table.empty() ? std::string() : table.render();
  if (!told.empty()) out += "\nWhat to do:\n" + told;
  return out + (good() ? "all is well\n" : "something is wrong, see above\n");
}

std::string Verdicts::as_document(Output output) const {
  json::array checks;
  for (const auto& verdict : list_) {
    json::object check{{"result", word_of(verdict.level)},
                       {"code", verdict.code},
                       {"node", verdict.node},
                       {"check", verdict.what},
                       {"detail", verdict.detail}};
    if (const auto hint = hint_of(verdict); !hint.empty()) check["hint"] = hint;
    checks.push_back(std::move(check));
  }
  return document_text(json::object{{"ok", good()}, {"checks", std::move(checks)}}, output);
}

// As CI systems read it: a warning is a test that passed and said something.
std::string Verdicts::as_junit() const {
  const auto failures =
      std::ranges::count_if(list_, [](const Verdict& v) { return v.level == Verdict::Level::failure; });
  std::string out =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"heddle check\" "
      "tests=\"" +
      std::to_string(list_.size()) + "\" failures=\"" + std::to_string(failures) + "\">\n";
  for (const auto& verdict : list_) {
    out += "    <testcase classname=\"" + xml(verdict.code) + "\" name=\"" + xml(title(verdict)) + "\"";
    const auto text = verdict.detail + (hint_of(verdict).empty() ? "" : "\n" + hint_of(verdict));
    if (verdict.level == Verdict::Level::failure) {
      out += ">\n      <failure message=\"" + xml(verdict.detail) + "\">" + xml(text) +
             "</failure>\n    </testcase>\n";
    } else if (verdict.level == Verdict::Level::warning) {
      out += ">\n      <system-out>" + xml(text) + "</system-out>\n    </testcase>\n";
    } else {
      out += "/>\n";
    }
  }
  return out + "  </testsuite>\n</testsuites>\n";
}

std::vector<Verdict> verdicts_of(std::string_view json_document) {
  boost::system::error_code malformed;
  const auto value = json::parse({json_document.data(), json_document.size()}, malformed);
  std::vector<Verdict> out;
  if (malformed || !value.is_object()) return out;
  const auto* checks = find_array(value.get_object(), {"checks"});
  for (const auto& entry : checks ? *checks : json::array()) {
    const auto* check = entry.if_object();
    if (!check) continue;
    Verdict verdict;
    const auto result = text_at(*check, {"result"});
    verdict.level = result == "ok"        ? Verdict::Level::ok
                    : result == "warning" ? Verdict::Level::warning
                                          : Verdict::Level::failure;
    verdict.code = text_at(*check, {"code"});
    verdict.node = text_at(*check, {"node"});
    verdict.what = text_at(*check, {"check"});
    verdict.detail = text_at(*check, {"detail"});
    out.push_back(std::move(verdict));
  }
  return out;
}

}  // namespace heddle::tools
