// SPDX-License-Identifier: Apache-2.0
// What a line of the access log or tap says; pure.
#include <strings.h>
#include <time.h>

#include <cstdio>

#include "proxy/telemetry/recorder.h"

namespace heddle::proxy {
namespace {

constexpr std::size_t max_text = 4096;  // of one member: a path may be as long as a server takes

std::string bounded(std::string_view text) {
  return std::string(text.substr(0, max_text));
}

void quote(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20 || byte >= 0x7f) {
      // Bytes above ASCII need not be UTF-8 here; as \u00xx they are always valid JSON.
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out.append(escape);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

class Object {
 public:
  Object& text(const char* name, std::string_view value) {
    if (!value.empty()) quote(key(name), value);
    return *this;
  }
  Object& number(const char* name, std::uint64_t value) {
    key(name).append(std::to_string(value));
    return *this;
  }
  std::string line() { return (out_.empty() ? "{" : out_) + "}\n"; }

 private:
  std::string& key(const char* name) {
    out_.append(out_.empty() ? "{" : ",");
    out_.append("\"").append(name).append("\":");
    return out_;
  }
  std::string out_;
};

std::string format_time(std::int64_t unix_us, const char* format) {
  const time_t seconds = unix_us / 1'000'000;
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  const auto size = strftime(text, sizeof text, format, &utc);
  return std::string(text, size);
}

std::string rfc3339(std::int64_t unix_us) {
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%06dZ", static_cast<int>(unix_us % 1'000'000));
  return format_time(unix_us, "%Y-%m-%dT%H:%M:%S") + fraction;
}

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

// Bare words of the common format: no space, quote or control character survives.
std::string word(const std::string& text) {
  std::string out = or_dash(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == 0x7f) c = '_';
  }
  return out;
}

}  // namespace

OwnedRecord::OwnedRecord(const TrafficRecord& r)
    : unix_us(std::chrono::duration_cast<std::chrono::microseconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()),
      direction(r.direction),
      pod(r.pod),
      client(r.client),
      original_dst(r.original_dst),
      endpoint(r.endpoint),
      authority(bounded(r.authority)),
      protocol(bounded(r.protocol)),
      tls(bounded(r.tls)),
      peer_identity(bounded(r.peer_identity)),
      server_name(bounded(r.server_name)),
      method(bounded(r.method)),
      path(bounded(r.path)),
      error(bounded(r.error)),
      status(r.status),
      bytes_in(r.bytes_in),
      bytes_out(r.bytes_out),
      duration(r.duration) {}

std::string format_json(const OwnedRecord& r) {
  Object o;
  o.text("time", rfc3339(r.unix_us));
  o.text("direction", r.direction == Direction::inbound ? "inbound" : "outbound");
  if (r.pod) o.text("namespace", r.pod->ns).text("pod", r.pod->name);
  o.text("client", r.client.to_string()).text("original_dst", r.original_dst.to_string());
  if (r.endpoint.port != 0) o.text("endpoint", r.endpoint.to_string());
  o.text("authority", r.authority).text("protocol", r.protocol).text("tls", r.tls);
  o.text("peer_identity", r.peer_identity)
      .text("server_name", r.server_name)
      .text("method", r.method)
      .text("path", r.path);
  if (r.status != 0) o.number("status", r.status);
  o.number("bytes_in", r.bytes_in).number("bytes_out", r.bytes_out);
  o.number("duration_us", static_cast<std::uint64_t>(r.duration.count()));
  o.text("error", r.error);
  return o.line();
}

std::string format_apache(const OwnedRecord& r) {
  // client identity user [time] "request" status bytes - then the mesh's facts, key=value.
  std::string out = r.client.ip.to_string() + " " + word(r.peer_identity) + " - [" +
                    format_time(r.unix_us, "%d/%b/%Y:%H:%M:%S +0000") + "] ";
  std::string request = r.method.empty() ? "-" : r.method + " " + r.path + " " + r.protocol;
  quote(out, request);
  out += " " + (r.status ? std::to_string(r.status) : std::string("-")) + " " + std::to_string(r.bytes_out);
  out += std::string(" direction=") + (r.direction == Direction::inbound ? "inbound" : "outbound");
  if (r.pod) out += " pod=" + r.pod->ns + "/" + r.pod->name;
  out += " authority=" + word(r.authority) + " dst=" + r.original_dst.to_string();
  if (r.endpoint.port != 0) out += " endpoint=" + r.endpoint.to_string();
  out += " protocol=" + word(r.protocol) + " tls=" + word(r.tls);
  if (!r.server_name.empty()) out += " server_name=" + word(r.server_name);
  out += " bytes_in=" + std::to_string(r.bytes_in) + " duration_us=" + std::to_string(r.duration.count());
  if (!r.error.empty()) {
    out += " error=";
    quote(out, r.error);
  }
  out.push_back('\n');
  return out;
}

bool TapFilter::matches(const OwnedRecord& r) const {
  if (!ns.empty() && (!r.pod || r.pod->ns != ns)) return false;
  if (!pod.empty() && (!r.pod || (r.pod->name != pod && r.pod->ns + "/" + r.pod->name != pod))) return false;
  if (!protocol.empty() && r.protocol != protocol) return false;
  if (!method.empty() && strcasecmp(method.c_str(), r.method.c_str()) != 0) return false;
  if (!path_prefix.empty() && !r.path.starts_with(path_prefix)) return false;
  return status == 0 || r.status == status;
}

Result<AccessLogFormat> parse_access_log_format(std::string_view text) {
  if (text == "off") return AccessLogFormat::off;
  if (text == "apache") return AccessLogFormat::apache;
  if (text == "json") return AccessLogFormat::json;
  return make_error(Errc::invalid_argument,
                    "access log format '" + std::string(text) + "': use off, apache or json");
}

}  // namespace heddle::proxy
