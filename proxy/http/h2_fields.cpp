// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_fields.h"

#include <array>
#include <string>

namespace heddle::proxy::http {
namespace {

// Reused by every head of this thread: no allocation per head once warm.
struct Scratch {
  std::vector<nghttp2_nv> nva;
  std::string lowered;
};
thread_local Scratch scratch;

bool has_upper(std::string_view text) {
  for (const char c : text) {
    if (c >= 'A' && c <= 'Z') return true;
  }
  return false;
}

void begin(std::size_t text_size) {
  scratch.nva.clear();
  scratch.lowered.clear();
  scratch.lowered.reserve(text_size + 64);  // views into it must stay good
}

// HTTP/2 names are lower case (RFC 9113 8.2.1).
std::string_view lower_name(std::string_view name) {
  if (!has_upper(name)) return name;
  const std::size_t at = scratch.lowered.size();
  for (const char c : name) scratch.lowered.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c);
  return std::string_view(scratch.lowered).substr(at);
}

void add_fields(const Fields& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) == Name::host) continue;
    scratch.nva.push_back(make_nv(lower_name(fields.name(i)), fields.value(i)));
  }
}

}  // namespace

nghttp2_nv make_nv(std::string_view name, std::string_view value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

const std::vector<nghttp2_nv>& to_nva(const RequestHead& head, std::string_view orig_proto) {
  begin(head.fields.text_size());
  scratch.nva.push_back(make_nv(":method", head.method()));
  scratch.nva.push_back(make_nv(":scheme", head.scheme()));
  scratch.nva.push_back(make_nv(":authority", head.authority()));
  if (head.authority().empty()) scratch.nva.pop_back();
  const std::string_view path = head.path();
  if (path.starts_with('?')) {
    // "http://host?query" has an empty path, which HTTP/2 writes as "/".
    scratch.lowered.append("/").append(path);
    scratch.nva.push_back(make_nv(":path", std::string_view(scratch.lowered).substr(0, path.size() + 1)));
  } else {
    scratch.nva.push_back(make_nv(":path", path));
  }
  add_fields(head.fields);
  if (!orig_proto.empty()) scratch.nva.push_back(make_nv("l5d-orig-proto", orig_proto));
  return scratch.nva;
}

const std::vector<nghttp2_nv>& to_nva(const ResponseHead& head) {
  begin(head.fields.text_size());
  const std::size_t at = scratch.lowered.size();
  scratch.lowered.append(std::to_string(head.status));
  scratch.nva.push_back(make_nv(":status", std::string_view(scratch.lowered).substr(at)));
  add_fields(head.fields);
  return scratch.nva;
}

const std::vector<nghttp2_nv>& to_nva(const Fields& trailers) {
  begin(trailers.text_size());
  add_fields(trailers);
  return scratch.nva;
}

}  // namespace heddle::proxy::http
