// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace heddle::tools {

// PURE: what `heddle check` can find. Codes are stable: a code that is no longer used is not given again.
struct CheckCode {
  std::string_view code;  // "HC301"
  std::string_view what;  // what is looked at
  std::string_view hint;  // what to do if it is not well
};

// HC0..: the machine, before an installation; HC1..: the cluster, before; HC2..: the control plane; HC3..: a
// node.
namespace check_code {
inline constexpr std::string_view root = "HC001";
inline constexpr std::string_view kernel = "HC002";
inline constexpr std::string_view cgroup = "HC003";
inline constexpr std::string_view bpffs = "HC004";
inline constexpr std::string_view hooks = "HC005";
inline constexpr std::string_view iptables = "HC006";
inline constexpr std::string_view cni_plugins = "HC007";
inline constexpr std::string_view cni_configuration = "HC008";
inline constexpr std::string_view port = "HC009";
inline constexpr std::string_view program = "HC010";
inline constexpr std::string_view api_server = "HC101";
inline constexpr std::string_view rights = "HC102";
inline constexpr std::string_view nodes = "HC103";
inline constexpr std::string_view other_mesh = "HC104";
inline constexpr std::string_view cilium = "HC105";
inline constexpr std::string_view control = "HC201";
inline constexpr std::string_view agents = "HC202";
inline constexpr std::string_view proxies = "HC203";
inline constexpr std::string_view webhook = "HC204";
inline constexpr std::string_view taint = "HC205";
inline constexpr std::string_view agent = "HC301";
inline constexpr std::string_view pods = "HC302";
inline constexpr std::string_view proxy_link = "HC303";
inline constexpr std::string_view bypass = "HC304";
inline constexpr std::string_view proxy = "HC305";
inline constexpr std::string_view certificates = "HC306";
inline constexpr std::string_view plaintext = "HC307";
}  // namespace check_code

std::span<const CheckCode> check_codes();
// Null: there is none.
const CheckCode* find_check_code(std::string_view code);

}  // namespace heddle::tools
