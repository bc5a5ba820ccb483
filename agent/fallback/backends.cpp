// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/backends.h"

#include <nftables/libnftables.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "agent/fallback/netns_child.h"
#include "base/io/file.h"

namespace heddle::agent {
namespace {

struct Family {
  const char* nft;      // "ip"
  const char* command;  // "iptables"
  bool v6;
};
constexpr Family families[] = {{"ip", "iptables", false}, {"ip6", "ip6tables", true}};

Result<std::string> run_nft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT), nft_ctx_free);
  if (!context) return make_error(Errc::unsupported, "libnftables cannot start");
  nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_NUMERIC_PROTO | NFT_CTX_OUTPUT_NUMERIC_PRIO);
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0)
    return std::string(nft_ctx_get_output_buffer(context.get()));
  std::string words = nft_ctx_get_error_buffer(context.get());
  for (auto& c : words) {
    if (c == '\n') c = ' ';
  }
  return make_error(Errc::unsupported, "nftables: " + words);
}

bool kernel_has_ipv6() {
  return ::access("/proc/self/net/if_inet6", F_OK) == 0;
}

std::string command(const Family& family, RedirectBackend backend, const char* what) {
  const char* variant = backend == RedirectBackend::iptables_nft ? "-nft-" : "-legacy-";
  return std::string(family.command) + variant + what;
}

// Whether the table nat exists in this netns for the backend. Asking iptables-legacy would create it, and
// with it connection tracking.
bool has_nat_table(const Family& family, RedirectBackend backend) {
  if (backend == RedirectBackend::iptables_nft) {
    const auto tables = run_nft("list tables");
    return tables && tables->find(std::string("table ") + family.nft + " nat\n") != std::string::npos;
  }
  const auto names = read_file(std::string("/proc/self/net/") + family.nft + "_tables_names");
  return names && ("\n" + *names).find("\nnat\n") != std::string::npos;
}

Result<std::string> saved(const Family& family, RedirectBackend backend) {
  if (!has_nat_table(family, backend)) return std::string();
  return run_program({command(family, backend, "save"), "-t", "nat"}, {});
}

Result<> restore(const Family& family, RedirectBackend backend, const std::string& script) {
  const auto done = run_program({command(family, backend, "restore"), "--noflush", "-w", "5"}, script);
  if (!done) return done.error();
  return {};
}

Result<> verify_iptables(RedirectBackend backend, const RedirectRules& rules) {
  for (const auto& family : families) {
    if (family.v6 && !kernel_has_ipv6()) continue;
    const auto present = saved(family, backend);
    if (!present) return present.error();
    if (!iptables_lists(rules, family.v6, *present)) {
      return make_error(Errc::not_found, std::string("the pod's ") + family.command +
                                             " nat rules are not those of its settings");
    }
  }
  return {};
}

Result<> remove_iptables(const Family& family, RedirectBackend backend) {
  const auto present = saved(family, backend);
  if (!present) {
    // Nothing of a program that is not installed can be ours.
    return present.error().code == make_error_code(Errc::unsupported) ? Result<>{}
                                                                      : Result<>(present.error());
  }
  const auto script = iptables_removal_script(*present);
  if (script.empty()) return {};
  if (auto ok = restore(family, backend, script); !ok) return ok;
  if (backend != RedirectBackend::iptables_nft) return {};
  // iptables-nft leaves the table with empty base chains behind.
  const std::string table = std::string(family.nft) + " nat";
  const auto listing = run_nft("list table " + table);
  if (!listing || !nft_table_is_empty(*listing)) return {};
  const auto deleted = run_nft("delete table " + table);
  return deleted ? Result<>{} : Result<>(deleted.error());
}

// A family whose rules cannot be had takes back those of the other one, unless they were there before: then a
// pod is redirected by them, and stays so.
Result<> install_iptables(RedirectBackend backend, const RedirectRules& rules) {
  std::vector<const Family*> fresh;
  const auto give_up = [&](const Error& error) {
    for (const auto* family : fresh) (void)remove_iptables(*family, backend).has_value();
    return Result<>(error);
  };
  for (const auto& family : families) {
    if (family.v6 && !kernel_has_ipv6()) continue;
    const auto present = saved(family, backend);
    if (!present) return give_up(present.error());
    if (auto ok = restore(family, backend, iptables_script(rules, family.v6, *present)); !ok)
      return give_up(ok.error());
    if (iptables_removal_script(*present).empty()) fresh.push_back(&family);
  }
  return {};
}

Result<> remove_nftables() {
  const std::string table(nft_table);
  if (!run_nft("list table " + table)) return {};
  const auto deleted = run_nft("delete table " + table);
  return deleted ? Result<>{} : Result<>(deleted.error());
}

Result<> remove_rules_of(RedirectBackend backend) {
  if (backend == RedirectBackend::nftables) return remove_nftables();
  for (const auto& family : families) {
    if (auto ok = remove_iptables(family, backend); !ok) return ok;
  }
  return {};
}

Result<> install_with(RedirectBackend backend, const RedirectRules& rules) {
  if (backend != RedirectBackend::nftables) return install_iptables(backend, rules);
  const auto done = run_nft(nft_script(rules));
  return done ? Result<>{} : Result<>(done.error());
}

constexpr RedirectBackend backends[] = {RedirectBackend::nftables, RedirectBackend::iptables_nft,
                                        RedirectBackend::iptables_legacy};

}  // namespace

Result<> install_rules(RedirectBackend backend, const RedirectRules& rules) {
  if (auto ok = install_with(backend, rules); !ok) return ok;
  // An earlier agent may have used another backend: its rules would tell the mesh's sockets by what they
  // were.
  for (const auto other : backends) {
    if (other == backend) continue;
    if (auto ok = remove_rules_of(other); !ok) return ok;
  }
  return {};
}

Result<> verify_rules(RedirectBackend backend, const RedirectRules& rules) {
  if (backend != RedirectBackend::nftables) return verify_iptables(backend, rules);
  const auto listing = run_nft(std::string("list table ") + nft_table);
  if (listing && nft_lists(rules, *listing)) return {};
  return make_error(Errc::not_found, "the pod's nftables rules are not those of its settings");
}

Result<> remove_rules() {
  for (const auto backend : backends) {
    if (auto ok = remove_rules_of(backend); !ok) return ok;
  }
  return {};
}

}  // namespace heddle::agent
