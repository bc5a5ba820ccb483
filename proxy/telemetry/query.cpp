// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/query.h"

#include <charconv>
#include <set>

namespace heddle::proxy {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 3986 2.1; a '%' that begins no escape stays as it is.
std::string decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

}  // namespace

std::string Query::get(const std::string& name) const {
  const auto it = values.find(name);
  return it == values.end() ? std::string() : it->second;
}

std::string path_of(std::string_view target) {
  return std::string(target.substr(0, target.find('?')));
}

Query parse_query(std::string_view target) {
  Query query;
  const auto mark = target.find('?');
  if (mark == std::string_view::npos) return query;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const auto pair = rest.substr(0, end);
    const auto equals = pair.find('=');
    if (equals != std::string_view::npos) {
      query.values.insert_or_assign(decode(pair.substr(0, equals)), decode(pair.substr(equals + 1)));
    }
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return query;
}

Result<TapFilter> tap_filter(const Query& query) {
  static const std::set<std::string_view> known{"pod", "ns", "protocol", "method", "path", "status"};
  for (const auto& [name, value] : query.values) {
    // What is not understood must not match everything.
    if (!known.contains(name)) {
      return make_error(Errc::invalid_argument,
                        "no filter '" + name + "': use pod, ns, protocol, method, path, status");
    }
  }
  TapFilter filter;
  filter.pod = query.get("pod");
  filter.ns = query.get("ns");
  filter.protocol = query.get("protocol");
  filter.method = query.get("method");
  filter.path_prefix = query.get("path");
  const std::string status = query.get("status");
  const auto [end, failed] = std::from_chars(status.data(), status.data() + status.size(), filter.status);
  if (!status.empty() && (failed != std::errc() || end != status.data() + status.size())) {
    return make_error(Errc::invalid_argument, "status '" + status + "': use a number such as 503");
  }
  return filter;
}

std::string trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

}  // namespace heddle::proxy
