// SPDX-License-Identifier: Apache-2.0
#include "control/source/reader.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace heddle::source {
namespace {

std::optional<std::uint16_t> to_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 65535)
    return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

// Untrusted text in an error message: short and printable.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 40));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return "'" + out + (text.size() > 40 ? "...'" : "'");
}

}  // namespace

Result<> Reader::result() const {
  if (error_) return *error_;
  return {};
}

void Reader::enter(const Value& object, std::string_view kind) {
  object_ = std::string(kind);
  const Value* metadata = map(&object, "metadata");
  const std::string ns = text(metadata, "namespace");
  object_ += " " + (ns.empty() ? "" : ns + "/") + text(metadata, "name");
}

void Reader::fail(const Value& where, const std::string& why) {
  if (error_) return;
  std::string detail = std::to_string(where.line) + ": ";
  if (!object_.empty()) detail += object_ + ": ";
  error_ = make_error(Errc::invalid_argument, detail + why);
}

void Reader::fail_field(const Value& where, std::string_view key, std::string_view expected) {
  std::string found = "a list";
  if (where.kind == Value::Kind::scalar) found = shown(where.scalar);
  if (where.kind == Value::Kind::map) found = "a map";
  if (where.kind == Value::Kind::null) found = "nothing";
  fail(where, std::string(key) + ": expected " + std::string(expected) + ", found " + found);
}

const Value* Reader::field(const Value* map, std::string_view key) {
  if (map == nullptr || error_) return nullptr;
  const Value* found = map->find(key);
  return found == nullptr || found->kind == Value::Kind::null ? nullptr : found;
}

Meta Reader::meta(const Value& object, bool namespaced) {
  Meta out;
  const Value* metadata = map(&object, "metadata");
  out.name = text(metadata, "name");
  if (out.name.empty()) fail(object, "metadata.name is missing");
  // A '/' would make "namespace/name" ambiguous; Kubernetes allows none.
  if (out.name.find('/') != std::string::npos) fail(object, "metadata.name contains '/'");
  if (namespaced) {
    out.ns = text(metadata, "namespace");
    if (out.ns.empty()) out.ns = "default";
    if (out.ns.find('/') != std::string::npos) fail(object, "metadata.namespace contains '/'");
  }
  out.uid = text(metadata, "uid");
  out.labels = labels(metadata, "labels");
  out.annotations = labels(metadata, "annotations");
  out.deleting = !text(metadata, "deletionTimestamp").empty();
  each_in(metadata, "ownerReferences", [&](const Value& item) {
    out.owners.push_back({text(&item, "kind"), text(&item, "name"), flag(&item, "controller", false)});
  });
  return out;
}

std::string Reader::text(const Value* map, std::string_view key) {
  const Value* value = field(map, key);
  if (value == nullptr) return {};
  if (value->kind != Value::Kind::scalar) {
    fail_field(*value, key, "text");
    return {};
  }
  return value->scalar;
}

bool Reader::flag(const Value* map, std::string_view key, bool fallback) {
  const Value* value = field(map, key);
  if (value == nullptr) return fallback;
  if (value->kind == Value::Kind::scalar && value->scalar == "true") return true;
  if (value->kind == Value::Kind::scalar && value->scalar == "false") return false;
  fail_field(*value, key, "true or false");
  return fallback;
}

std::uint16_t Reader::port(const Value* map, std::string_view key) {
  const Value* value = field(map, key);
  if (value == nullptr) {
    if (map != nullptr) fail(*map, std::string(key) + " is missing");
    return 0;
  }
  const auto number = value->kind == Value::Kind::scalar ? to_port(value->scalar) : std::nullopt;
  if (!number) fail_field(*value, key, "a port from 1 to 65535");
  return number.value_or(0);
}

std::variant<std::uint16_t, std::string> Reader::port_or_name(const Value* map, std::string_view key,
                                                              std::uint16_t fallback) {
  const Value* value = field(map, key);
  if (value == nullptr) return fallback;
  if (value->kind != Value::Kind::scalar || value->scalar.empty()) {
    fail_field(*value, key, "a port or its name");
    return fallback;
  }
  const bool digits = std::ranges::all_of(value->scalar, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) return value->scalar;
  // The API server shows 0 for "not said" in headless services.
  if (value->scalar == "0") return fallback;
  return port(map, key);
}

Protocol Reader::protocol(const Value* map) {
  const Value* value = field(map, "protocol");
  if (value == nullptr || value->scalar == "TCP" || value->scalar.empty()) return Protocol::tcp;
  if (value->scalar == "UDP") return Protocol::udp;
  if (value->scalar == "SCTP") return Protocol::sctp;
  fail_field(*value, "protocol", "TCP, UDP or SCTP");
  return Protocol::tcp;
}

Labels Reader::labels(const Value* map, std::string_view key) {
  Labels out;
  const Value* values = this->map(map, key);
  if (values == nullptr) return out;
  for (const auto& [name, value] : values->fields) {
    if (value.kind == Value::Kind::sequence || value.kind == Value::Kind::map) {
      fail_field(value, std::string(key) + "." + name, "text");
      return out;
    }
    out.emplace(name, value.kind == Value::Kind::null ? std::string() : value.scalar);
  }
  return out;
}

const Value* Reader::map(const Value* parent, std::string_view key) {
  const Value* value = field(parent, key);
  if (value == nullptr) return nullptr;
  if (value->kind == Value::Kind::map) return value;
  fail_field(*value, key, "a map");
  return nullptr;
}

const Value* Reader::list(const Value* parent, std::string_view key) {
  const Value* value = field(parent, key);
  if (value == nullptr) return nullptr;
  if (value->kind == Value::Kind::sequence) return value;
  fail_field(*value, key, "a list");
  return nullptr;
}

void Reader::add_ip(const Value* map, std::string_view key, std::vector<IpAddress>& out) {
  const Value* value = field(map, key);
  if (value != nullptr) add_ip(*value, out);
}

void Reader::add_ip(const Value& scalar, std::vector<IpAddress>& out) {
  if (scalar.kind == Value::Kind::null || (scalar.kind == Value::Kind::scalar && scalar.scalar.empty()))
    return;
  const auto ip = scalar.kind == Value::Kind::scalar ? IpAddress::parse(scalar.scalar)
                                                     : Result<IpAddress>(make_error(Errc::invalid_argument));
  if (!ip) return fail_field(scalar, "address", "an IP address");
  if (std::ranges::find(out, *ip) == out.end()) out.push_back(*ip);
}

}  // namespace heddle::source
