// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/watch_decoder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace heddle::source::kubernetes {
namespace {

std::optional<WatchEvent::Type> type_of(std::string_view name) {
  using Type = WatchEvent::Type;
  constexpr std::array<std::pair<std::string_view, Type>, 5> names{{{"ADDED", Type::added},
                                                                    {"MODIFIED", Type::modified},
                                                                    {"DELETED", Type::deleted},
                                                                    {"BOOKMARK", Type::bookmark},
                                                                    {"ERROR", Type::error}}};
  const auto found = std::ranges::find(names, name, &std::pair<std::string_view, Type>::first);
  if (found == names.end()) return std::nullopt;
  return found->second;
}

std::string text_of(const Value* map, std::string_view key) {
  const Value* value = map == nullptr ? nullptr : map->find(key);
  return value != nullptr && value->kind == Value::Kind::scalar ? value->scalar : std::string();
}

}  // namespace

Result<> WatchDecoder::feed(std::string_view bytes, const std::function<void(WatchEvent)>& visit) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + part.size() > line_limit_) {
      return make_error(Errc::exhausted,
                        "an event of a watch is larger than " + std::to_string(line_limit_) + " bytes");
    }
    if (end == std::string_view::npos) {
      line_ += part;
      return {};
    }
    bytes.remove_prefix(end + 1);
    const std::string before = std::exchange(line_, {});  // its memory goes: few events are large
    auto taken = before.empty() ? take_line(part, visit) : take_line(before + std::string(part), visit);
    if (!taken) return taken;
  }
  return {};
}

Result<> WatchDecoder::take_line(std::string_view line, const std::function<void(WatchEvent)>& visit) const {
  Limits limits;
  limits.bytes = line_limit_;
  auto values = read_json(line, limits);
  if (!values) return make_error(Errc::protocol, "an event of a watch: " + values.error().detail);
  if (values->empty()) return {};  // an empty line
  Value& event = values->front();
  const Value* object = event.find("object");
  if (values->size() > 1 || object == nullptr || object->kind != Value::Kind::map) {
    return make_error(Errc::protocol, "a line of a watch is not an event (a type and an object)");
  }
  if (const auto type = type_of(text_of(&event, "type"))) visit({*type, *object});
  return {};
}

std::string resource_version_of(const Value& object) {
  return text_of(object.find("metadata"), "resourceVersion");
}

std::string continue_of(const Value& list) {
  return text_of(list.find("metadata"), "continue");
}

int code_of(const Value& status) {
  const std::string text = text_of(&status, "code");
  int code = 0;
  std::from_chars(text.data(), text.data() + text.size(), code);
  return code;
}

std::string message_of(const Value& status) {
  std::string text = text_of(&status, "message").substr(0, 300);
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace heddle::source::kubernetes
