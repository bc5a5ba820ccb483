// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

// PURE: takes credentials out of what programs wrote. It is the second net: what is known to hold secrets
// (Secrets, environments, commands, applications' annotations) is never collected in the first place.
namespace heddle::tools {

inline constexpr std::string_view redacted = "<redacted>";

// Lines in which private keys, signed tokens, Authorization headers, passwords of URLs, values of their
// queries, and values of what is named like a credential (`password=..`, `"token": ".."`, `--api-key ..`) are
// replaced. Paths of files with credentials stay.
std::string scrub_text(std::string_view text);

// Every string of the value as scrub_text() leaves it; text that belongs to a key named like a credential is
// replaced as a whole.
void scrub_json(boost::json::value& value);

// Whether a key of that name holds a credential: "k8s_auth_token" does, "token_file" does not.
bool names_credential(std::string_view key);

}  // namespace heddle::tools
