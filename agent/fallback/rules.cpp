// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace heddle::agent {
namespace {

constexpr const char* inbound_chain = "HEDDLE_INBOUND";
constexpr const char* outbound_chain = "HEDDLE_OUTBOUND";

bool is_v4(const Cidr& cidr) {
  return cidr.base.is_v4() && cidr.bits >= 96;
}

Cidr host(const IpAddress& ip) {
  return {ip, 128};
}

// Sources of inbound connections that are left alone.
std::vector<Cidr> skipped_sources(const RedirectRules& rules) {
  auto out = rules.pod.skip_cidrs;
  for (const auto& ip : rules.node_addresses) out.push_back(host(ip));
  return out;
}

const std::vector<PortRange>& skipped_ports(const RedirectRules& rules, bool inbound) {
  return inbound ? rules.pod.skip_inbound_ports : rules.pod.skip_outbound_ports;
}

// "10.0.0.0/8"; with `short_hosts` a host prefix is a bare address.
std::string prefix(const Cidr& cidr, bool short_hosts) {
  auto base = cidr.base.to_string();
  if (short_hosts && cidr.bits == 128) return base;
  return base + "/" + std::to_string(is_v4(cidr) ? cidr.bits - 96 : cidr.bits);
}

std::string ports(const PortRange& range, char between) {
  if (range.low == range.high) return std::to_string(range.low);
  return std::to_string(range.low) + between + std::to_string(range.high);
}

std::string hex(std::uint32_t mark, const char* format) {
  char text[16];
  std::snprintf(text, sizeof text, format, mark);
  return text;
}

std::size_t depth(std::string_view path) {
  return static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) + 1;
}

std::string nft_exemption(const RedirectRules& rules) {
  if (rules.mesh_cgroup.empty()) return "meta mark " + hex(rules.mark, "0x%08x") + " return";
  return "socket cgroupv2 level " + std::to_string(depth(rules.mesh_cgroup)) + " \"" + rules.mesh_cgroup +
         "\" return";
}

std::string iptables_exemption(const RedirectRules& rules) {
  if (rules.mesh_cgroup.empty()) return "-m mark --mark " + hex(rules.mark, "0x%x") + " -j RETURN";
  return "-m cgroup --path /" + rules.mesh_cgroup + " -j RETURN";
}

// Each line without the white space around it.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    out.emplace_back(line);
  }
  return out;
}

std::string jump(bool inbound) {
  const std::string_view hook = inbound ? "PREROUTING" : "OUTPUT";
  return fmt::format("-A {} -p tcp -j {}", hook, inbound ? inbound_chain : outbound_chain);
}

bool has_line(const std::vector<std::string>& lines, const std::string& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

bool declares(const std::vector<std::string>& lines, const std::string& chain) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.starts_with(":" + chain + " "); });
}

// A line of an nft listing that says nothing but that there are base chains that accept.
bool is_frame(const std::string& line) {
  return line.empty() || line == "}" || line.starts_with("table ") || line.starts_with("chain ") ||
         (line.starts_with("type ") && line.ends_with("policy accept;"));
}

}  // namespace

bool can_match_cgroup(std::string_view mesh_cgroup) {
  while (mesh_cgroup.starts_with('/')) mesh_cgroup.remove_prefix(1);
  if (mesh_cgroup.empty() || mesh_cgroup.size() > 500) return false;
  return std::all_of(mesh_cgroup.begin(), mesh_cgroup.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("/._-:@").find(c) != std::string_view::npos;
  });
}

std::vector<std::string> nft_rules(const RedirectRules& rules, bool inbound) {
  std::vector<std::string> out;
  if (!inbound) out.push_back(nft_exemption(rules));
  // Loopback, and the pod's own addresses, which are routed over lo: the proxy's connections to the app too.
  out.push_back(inbound ? "iifname \"lo\" return" : "oifname \"lo\" return");
  for (const auto& cidr : inbound ? skipped_sources(rules) : rules.pod.skip_cidrs) {
    out.push_back(std::string(is_v4(cidr) ? "ip " : "ip6 ") + (inbound ? "saddr " : "daddr ") +
                  prefix(cidr, true) + " return");
  }
  for (const auto& range : skipped_ports(rules, inbound))
    out.push_back("tcp dport " + ports(range, '-') + " return");
  // By number: without an /etc/protocols, as in small images, the kernel's tools cannot name it in a listing.
  out.push_back("meta l4proto 6 redirect to :" +
                std::to_string(inbound ? rules.pod.inbound_port : rules.pod.outbound_port));
  return out;
}

std::string nft_script(const RedirectRules& rules) {
  const std::string table(nft_table);
  std::string out = "add table " + table + "\ndelete table " + table + "\ntable " + table + " {\n";
  for (const bool inbound : {true, false}) {
    out += std::string("\tchain ") + (inbound ? "inbound" : "outbound") + " {\n\t\ttype nat hook " +
           (inbound ? "prerouting" : "output") + " priority -100; policy accept;\n";
    for (const auto& rule : nft_rules(rules, inbound)) out += "\t\t" + rule + "\n";
    out += "\t}\n";
  }
  return out + "}\n";
}

bool nft_lists(const RedirectRules& rules, std::string_view listing) {
  std::vector<std::string> listed;
  // Whatever is neither the frame nor a rule of ours is somebody's change: another rule, a table set dormant.
  for (auto& line : lines_of(listing)) {
    if (!is_frame(line)) listed.push_back(std::move(line));
  }
  auto expected = nft_rules(rules, true);
  const auto outbound = nft_rules(rules, false);
  expected.insert(expected.end(), outbound.begin(), outbound.end());
  return listed == expected;
}

std::vector<std::string> iptables_rules(const RedirectRules& rules, bool v6) {
  std::vector<std::string> out;
  for (const bool inbound : {true, false}) {
    const std::string append = std::string("-A ") + (inbound ? inbound_chain : outbound_chain) + " ";
    if (!inbound) out.push_back(append + iptables_exemption(rules));
    out.push_back(append + (inbound ? "-i lo -j RETURN" : "-o lo -j RETURN"));
    for (const auto& cidr : inbound ? skipped_sources(rules) : rules.pod.skip_cidrs) {
      if (is_v4(cidr) == v6) continue;
      out.push_back(append + (inbound ? "-s " : "-d ") + prefix(cidr, false) + " -j RETURN");
    }
    for (const auto& range : skipped_ports(rules, inbound)) {
      out.push_back(append + "-p tcp -m tcp --dport " + ports(range, ':') + " -j RETURN");
    }
    out.push_back(append + "-p tcp -j REDIRECT --to-ports " +
                  std::to_string(inbound ? rules.pod.inbound_port : rules.pod.outbound_port));
  }
  return out;
}

std::string iptables_script(const RedirectRules& rules, bool v6, std::string_view saved) {
  const auto present = lines_of(saved);
  // Naming a chain empties it.
  std::string out = std::string("*nat\n:") + inbound_chain + " - [0:0]\n:" + outbound_chain + " - [0:0]\n";
  for (const auto& rule : iptables_rules(rules, v6)) out += rule + "\n";
  for (const bool inbound : {true, false}) {
    if (!has_line(present, jump(inbound))) out += jump(inbound) + "\n";
  }
  return out + "COMMIT\n";
}

std::string iptables_removal_script(std::string_view saved) {
  const auto present = lines_of(saved);
  std::string jumps;
  std::string chains;
  for (const bool inbound : {true, false}) {
    for (const auto& line : present) {
      if (line == jump(inbound)) jumps += "-D" + line.substr(2) + "\n";
    }
    const std::string chain = inbound ? inbound_chain : outbound_chain;
    if (declares(present, chain)) chains += "-F " + chain + "\n-X " + chain + "\n";
  }
  if (jumps.empty() && chains.empty()) return {};
  return "*nat\n" + jumps + chains + "COMMIT\n";
}

bool iptables_lists(const RedirectRules& rules, bool v6, std::string_view saved) {
  std::vector<std::string> ours;
  auto present = lines_of(saved);
  for (auto& line : present) {
    std::erase(line, '"');
    if (line.starts_with("-A HEDDLE_")) ours.push_back(line);
  }
  return ours == iptables_rules(rules, v6) && has_line(present, jump(true)) && has_line(present, jump(false));
}

bool nft_table_is_empty(std::string_view listing) {
  const auto lines = lines_of(listing);
  return std::all_of(lines.begin(), lines.end(), is_frame);
}

}  // namespace heddle::agent
