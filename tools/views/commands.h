// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/command.h"
#include "tools/views/node.h"
#include "tools/views/traffic.h"

namespace heddle::tools {

// What the observing subcommands do: they print to stdout and return the exit code.

int show_status(const Scope& scope, Output output);
int show_stat(const Scope& scope, Output output, StatBy by, const std::string& direction, double window_s);
int show_edges(const Scope& scope, Output output);

// `query` is "pod=...&protocol=..." as the proxies' /tap takes it. Stops after `limit` records (0: never) or
// Ctrl-C.
int show_tap(const Scope& scope, Output output, const std::string& query, unsigned limit);

// `source` is a pod (NAMESPACE/NAME, or NAME if there is one only), `destination` an address with port or
// SERVICE.NAMESPACE:PORT of a lab.
int show_explain(const Scope& scope, Output output, const std::string& source,
                 const std::string& destination);

// `before`: what an installation would need; otherwise what a running node must show.
int show_check(const Scope& scope, Output output, bool before);

// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
std::string query_escape(const std::string& text);

}  // namespace heddle::tools
