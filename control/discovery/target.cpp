// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/target.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

namespace heddle::control {
namespace {

constexpr std::uint16_t default_port = 80;
constexpr std::size_t longest_name = 253;  // RFC 1035 2.3.4

Error refused(std::string_view path, std::string_view domain) {
  std::string shown(path.substr(0, 80));
  std::ranges::replace_if(shown, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return make_error(Errc::invalid_argument, "'" + shown + "' is neither SERVICE.NAMESPACE.svc." +
                                                std::string(domain) + ":PORT nor IP:PORT");
}

// RFC 1123 label; Kubernetes writes them in lower case.
bool is_label(std::string_view text) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 63 && std::ranges::all_of(text, allowed) && text.front() != '-' &&
         text.back() != '-';
}

bool parse_port(std::string_view text, std::uint16_t& port) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 65535) return false;
  port = static_cast<std::uint16_t>(value);
  return true;
}

// The last label of `name`, which is cut off.
std::string_view take_last(std::string_view& name) {
  const auto dot = name.rfind('.');
  const std::string_view label = dot == std::string_view::npos ? name : name.substr(dot + 1);
  name = dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
  return label;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return out;
}

}  // namespace

Result<Target> parse_target(std::string_view path, std::string_view cluster_domain) {
  if (path.empty() || path.size() > longest_name + 10) return refused(path, cluster_domain);
  if (const auto address = SocketAddress::parse(path); address) {
    if (address->port == 0) return refused(path, cluster_domain);
    return Target(*address);
  }
  if (const auto ip = IpAddress::parse(path); ip) return Target(SocketAddress{*ip, default_port});

  ServiceTarget target;
  target.port = default_port;
  std::string_view host = path;
  if (const auto colon = path.rfind(':'); colon != std::string_view::npos) {
    host = path.substr(0, colon);
    if (!parse_port(path.substr(colon + 1), target.port)) return refused(path, cluster_domain);
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string name = lower(host);
  const std::string suffix = ".svc." + lower(cluster_domain);
  if (!name.ends_with(suffix) || name.starts_with('.')) return refused(path, cluster_domain);
  std::string_view rest = std::string_view(name).substr(0, name.size() - suffix.size());
  target.ns = take_last(rest);
  target.service = take_last(rest);
  target.instance = rest;
  const bool instance_ok = target.instance.empty() || is_label(target.instance);
  if (!is_label(target.ns) || !is_label(target.service) || !instance_ok) return refused(path, cluster_domain);
  return Target(std::move(target));
}

Client parse_client(std::string_view context_token) {
  Client client;
  if (context_token.empty() || context_token.size() > 4096) return client;
  boost::system::error_code error;
  const boost::json::value token = boost::json::parse(context_token, error);
  if (error || !token.is_object()) return client;
  const auto text = [&](std::string_view key) {
    const boost::json::value* value = token.get_object().if_contains(key);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  client.ns = text("ns");
  client.node = text("nodeName");
  client.pod = text("pod");
  return client;
}

}  // namespace heddle::control
