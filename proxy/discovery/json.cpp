// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/json.h"

#include <cstdio>

namespace heddle::proxy {
namespace {

const char* to_string(ProtocolHint hint) {
  switch (hint) {
    case ProtocolHint::none:
      return "none";
    case ProtocolHint::h2:
      return "h2";
    case ProtocolHint::opaque:
      return "opaque";
  }
  return "none";
}

std::string labels(const std::map<std::string, std::string>& all) {
  std::string out = "{";
  for (const auto& [key, value] : all) {
    if (out.size() > 1) out += ",";
    out += json_text(key) + ":" + json_text(value);
  }
  return out + "}";
}

std::string endpoint(const EndpointInfo& info) {
  std::string out = "{\"address\":" + json_text(info.address.to_string()) +
                    ",\"identity\":" + json_text(info.identity) +
                    ",\"hint\":" + json_text(to_string(info.hint));
  if (info.opaque_transport_port != 0)
    out += ",\"inbound_port\":" + std::to_string(info.opaque_transport_port);
  return out + ",\"labels\":" + labels(info.labels) + "}";
}

}  // namespace

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned char>(c));
      out += escape;
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

const char* to_string(Destination::State state) {
  switch (state) {
    case Destination::State::pending:
      return "pending";
    case Destination::State::service:
      return "service";
    case Destination::State::endpoint:
      return "endpoint";
    case Destination::State::not_found:
      return "not_found";
  }
  return "pending";
}

std::string json_members(const Resolution& r) {
  std::string out =
      std::string("\"state\":") + json_text(to_string(r.state)) + ",\"authority\":" + json_text(r.authority) +
      ",\"opaque\":" + (r.opaque ? "true" : "false") +
      ",\"unavailable\":" + (r.unavailable ? "true" : "false") + ",\"labels\":" + labels(r.labels);
  out += ",\"endpoints\":[";
  bool first = true;
  for (const auto& info : r.endpoints) {
    if (!first) out += ",";
    first = false;
    out += endpoint(info);
  }
  if (r.endpoint) out += endpoint(*r.endpoint);
  return out + "]";
}

}  // namespace heddle::proxy
