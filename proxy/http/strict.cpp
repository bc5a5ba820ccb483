// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/strict.h"

#include <algorithm>
#include <charconv>

#include "proxy/http/message.h"

namespace heddle::proxy::http {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// unreserved / pct-encoded / sub-delims, but for the comma: "a,b" could be a list.
bool is_name_of_host(std::string_view host) {
  for (std::size_t i = 0; i < host.size(); ++i) {
    const char c = host[i];
    if (c == '%') {
      if (i + 2 >= host.size() || !is_hex(host[i + 1]) || !is_hex(host[i + 2])) return false;
      i += 2;
    } else if (!is_alphanumeric(c) && std::string_view("-._~!$&'()*+;=").find(c) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

// What is between the brackets: an address, maybe with a zone.
bool is_ip_literal(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || std::string_view(":.-_~%").find(c) != std::string_view::npos;
  });
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port <= 65'535;
}

std::string_view without_usual_port(std::string_view authority) {
  for (const std::string_view port : {":80", ":443", ":"}) {
    if (authority.ends_with(port)) return authority.substr(0, authority.size() - port.size());
  }
  return authority;
}

// Takes a token or a quoted string off the front; false when there is none.
bool take_word(std::string_view& text, bool may_be_quoted) {
  if (may_be_quoted && text.starts_with('"')) {
    for (std::size_t i = 1; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        text.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }
  std::size_t size = 0;
  while (size < text.size() && is_token(text.substr(size, 1))) ++size;
  text.remove_prefix(size);
  return size != 0;
}

}  // namespace

bool is_authority(std::string_view text, bool port_needed) {
  std::string_view host = text;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || !is_ip_literal(text.substr(1, close - 1))) return false;
    host = {};
    port = text.substr(close + 1);
    if (!port.empty() && port.front() != ':') return false;
    has_port = !port.empty();
    if (has_port) port.remove_prefix(1);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
    if (host.empty()) return false;
  } else if (text.empty()) {
    return false;
  }
  if (!is_name_of_host(host)) return false;
  if (port.empty()) return !port_needed;
  return has_port && is_port(port);
}

bool same_authority(std::string_view a, std::string_view b) {
  return equal_ignoring_case(without_usual_port(a), without_usual_port(b));
}

bool is_mesh_name(std::string_view name) {
  for (const std::string_view prefix : {"l5d", "heddle"}) {
    if (name.size() > prefix.size() && equal_ignoring_case(name.substr(0, prefix.size()), prefix) &&
        !is_alphanumeric(name[prefix.size()]))
      return true;
  }
  return false;
}

bool resembles_framing(std::string_view name) {
  const auto is = [name](std::string_view known) {
    return name.size() == known.size() &&
           std::equal(name.begin(), name.end(), known.begin(), [](char c, char k) {
             return c == k || (c == '_' && k == '-') || (c >= 'A' && c <= 'Z' && (c | 0x20) == k);
           });
  };
  return name.find('_') != std::string_view::npos && (is("content-length") || is("transfer-encoding"));
}

bool is_chunk_extension(std::string_view text) {
  while (true) {
    text = trim(text);
    if (text.empty()) return true;
    if (text.front() != ';') return false;
    text = trim(text.substr(1));
    if (!take_word(text, false)) return false;
    const std::string_view rest = trim(text);
    if (!rest.starts_with('=')) continue;
    text = trim(rest.substr(1));
    if (!take_word(text, true)) return false;
  }
}

std::string without_http(std::string_view upgrade) {
  std::string kept;
  while (!upgrade.empty()) {
    const std::size_t comma = std::min(upgrade.find(','), upgrade.size());
    const std::string_view protocol = trim(upgrade.substr(0, comma));
    upgrade.remove_prefix(std::min(comma + 1, upgrade.size()));
    const std::string_view name = protocol.substr(0, protocol.find('/'));
    const bool is_http = equal_ignoring_case(name, "h2c") || equal_ignoring_case(name, "h2") ||
                         equal_ignoring_case(name, "http");
    if (protocol.empty() || is_http) continue;
    if (!kept.empty()) kept += ", ";
    kept += protocol;
  }
  return kept;
}

}  // namespace heddle::proxy::http
