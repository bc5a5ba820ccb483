// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/names.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using std::string_view;

// Said of every cluster, or part of what heddle itself says.
constexpr std::array common{string_view("default"),        string_view("kube-system"),
                            string_view("kube-public"),    string_view("kube-node-lease"),
                            string_view("heddle"),         string_view("cluster"),
                            string_view("local"),          string_view("svc"),
                            string_view("serviceaccount"), string_view("identity"),
                            string_view("true"),           string_view("false"),
                            string_view("null"),           string_view("enabled"),
                            string_view("disabled"),       string_view("latest"),
                            string_view("localhost"),      string_view("docker"),
                            string_view("sha256"),         string_view("Linux"),
                            string_view("linux"),          string_view("amd64"),
                            string_view("arm64")};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

bool stays(string_view word) {
  return word.size() < 2 || word.starts_with("heddle-") || std::ranges::find(common, word) != common.end() ||
         std::ranges::all_of(word, [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
}

template <class Each>
void each_word(string_view text, Each each) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto begin = at;
    const bool word = is_word(text[at]);
    while (at < text.size() && is_word(text[at]) == word) ++at;
    each(begin, text.substr(begin, at - begin), word);
  }
}

const json::array& list_at(const json::object& from, std::initializer_list<const char*> path) {
  static const json::array none;
  const auto* found = find_array(from, path);
  return found ? *found : none;
}

}  // namespace

void Names::add(const std::string& kind, string_view name) {
  each_word(name, [&](std::size_t, string_view word, bool is_name) {
    if (!is_name || stays(word) || aliases_.contains(word)) return;
    aliases_.emplace(word, kind + "-" + std::to_string(++counts_[kind]));
  });
}

void Names::add_object(const json::object& object) {
  auto kind = text_at(object, {"kind"});
  std::ranges::transform(kind, kind.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  add(kind.empty() ? "object" : kind, text_at(object, {"metadata", "name"}));
  add("namespace", text_at(object, {"metadata", "namespace"}));
  add("node", text_at(object, {"spec", "nodeName"}));
  add("account", text_at(object, {"spec", "serviceAccountName"}));
  for (const auto& owner : list_at(object, {"metadata", "ownerReferences"})) {
    if (owner.is_object()) add("owner", text_at(owner.get_object(), {"name"}));
  }
  for (const char* containers : {"containers", "initContainers"}) {
    for (const auto& container : list_at(object, {"spec", containers})) {
      if (!container.is_object()) continue;
      add("container", text_at(container.get_object(), {"name"}));
      add("image", text_at(container.get_object(), {"image"}));
    }
  }
  if (const auto* labels = find_object(object, {"metadata", "labels"})) {
    for (const auto& [key, value] : *labels) add("label", spelled(value));
  }
}

void Names::add_state(const json::object& state) {
  add("node", text_at(state, {"node"}));
  for (const auto& value : list_at(state, {"pods"})) {
    const auto* pod = value.if_object();
    if (!pod) continue;
    add("namespace", text_at(*pod, {"namespace"}));
    add("pod", text_at(*pod, {"name"}));
    add("account", text_at(*pod, {"service_account"}));
  }
}

std::string Names::apply(string_view text) const {
  std::string out;
  out.reserve(text.size());
  each_word(text, [&](std::size_t begin, string_view word, bool is_name) {
    const auto found = is_name ? aliases_.find(word) : aliases_.end();
    const auto end = begin + word.size();
    const bool key = begin > 0 && text[begin - 1] == '"' && text.substr(end).starts_with("\":");
    out += found == aliases_.end() || key ? word : string_view(found->second);
  });
  return out;
}

}  // namespace heddle::tools
