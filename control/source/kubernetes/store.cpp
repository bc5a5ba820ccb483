// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/store.h"

#include <algorithm>
#include <memory>

#include "control/source/decode.h"

namespace heddle::source::kubernetes {
namespace {

std::string text_of(const Value* map, std::string_view key) {
  const Value* value = map == nullptr ? nullptr : map->find(key);
  return value != nullptr && value->kind == Value::Kind::scalar ? value->scalar : std::string();
}

std::string key_of(const Value& object) {
  const Value* metadata = object.find("metadata");
  return text_of(metadata, "namespace") + "/" + text_of(metadata, "name");
}

// Items of a list say neither kind nor apiVersion.
void set_missing(Value& object, std::string_view key, const std::string& text) {
  if (object.find(key) != nullptr) return;
  Value value;
  value.kind = Value::Kind::scalar;
  value.quoted = true;
  value.scalar = text;
  object.fields.push_back({std::string(key), std::move(value)});
}

// Takes over the old pointers where the objects are equal; true if all were.
template <class T>
bool keep_equal(const Objects::List<T>& before, Objects::List<T>& now) {
  bool all = before.size() == now.size();
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (i < before.size() && *before[i] == *now[i]) {
      now[i] = before[i];
    } else {
      all = false;
    }
  }
  return all;
}

bool keep_all_equal(const Objects& before, Objects& now) {
  bool all = keep_equal(before.namespaces, now.namespaces);
  all &= keep_equal(before.nodes, now.nodes);
  all &= keep_equal(before.pods, now.pods);
  all &= keep_equal(before.service_accounts, now.service_accounts);
  all &= keep_equal(before.services, now.services);
  all &= keep_equal(before.slices, now.slices);
  return all;
}

}  // namespace

Result<bool> Store::put(const Resource& resource, Value object) {
  const std::string key = key_of(object);
  listed_.insert(key);
  set_missing(object, "kind", resource.kind);
  set_missing(object, "apiVersion", resource.api_version);
  Objects decoded;
  if (auto done = decode(object, decoded); !done) {
    broken_.insert(key);
    const std::string& why = done.error().detail;  // "LINE: ...", and JSON of the API has no lines
    const auto start = why.find(": ");
    return make_error(Errc::invalid_argument, start == std::string::npos ? why : why.substr(start + 2));
  }
  broken_.erase(key);
  const auto [at, is_new] = objects_.try_emplace(key);
  const bool same = keep_all_equal(at->second, decoded);
  at->second = std::move(decoded);
  return is_new || !same;
}

bool Store::remove(const Value& object) {
  const std::string key = key_of(object);
  broken_.erase(key);
  return objects_.erase(key) != 0;
}

bool Store::end_list() {
  const auto gone = [this](const std::string& key) { return !listed_.contains(key); };
  const auto went = std::erase_if(objects_, [&](const auto& entry) { return gone(entry.first); });
  std::erase_if(broken_, gone);
  listed_.clear();
  return went != 0;
}

void Store::append_to(Objects& objects) const {
  for (const auto& [key, one] : objects_) objects.append(one);
}

}  // namespace heddle::source::kubernetes
