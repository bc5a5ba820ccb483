// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/datapath/datapath.h"

// The rules as text. Pure. Every line is written in the form in which the kernel's tools list it again, so
// that verifying is comparing.
namespace heddle::agent {

struct RedirectRules {
  InterceptedPod pod;
  // Mesh sockets: those of this cgroup ("system/agent", no slash in front); if empty, those with this mark.
  std::string mesh_cgroup;
  std::uint32_t mark = 0;
  std::vector<IpAddress> node_addresses;
};

// A cgroup path that a rule can name: below the root, of plain characters. The root would exempt everybody.
bool can_match_cgroup(std::string_view mesh_cgroup);

// nftables: everything is in one table of our own.
inline constexpr const char* nft_table = "inet heddle";
std::vector<std::string> nft_rules(const RedirectRules& rules, bool inbound);
// One transaction that replaces the table, whether it exists or not.
std::string nft_script(const RedirectRules& rules);
// Whether `list table inet heddle` printed these rules.
bool nft_lists(const RedirectRules& rules, std::string_view listing);

// iptables: two chains of our own in the table nat of each family, and a jump to each.
std::vector<std::string> iptables_rules(const RedirectRules& rules, bool v6);
// Input for `iptables-restore --noflush`; `saved` is what `iptables-save -t nat` printed before.
std::string iptables_script(const RedirectRules& rules, bool v6, std::string_view saved);
// Input that takes ours away; empty when there is nothing of ours.
std::string iptables_removal_script(std::string_view saved);
bool iptables_lists(const RedirectRules& rules, bool v6, std::string_view saved);

// Whether a listing of an nft table holds nothing but empty base chains that accept.
bool nft_table_is_empty(std::string_view listing);

}  // namespace heddle::agent
