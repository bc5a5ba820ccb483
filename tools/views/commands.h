// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/commands/command.h"
#include "tools/views/filter.h"
#include "tools/views/node.h"
#include "tools/views/traffic.h"

namespace heddle::tools {

// What the observing subcommands do: they print to stdout and return the exit code.

// What every view is told: where to look, at which pods, and how to print.
struct View {
  Scope scope;
  std::string ns;        // of pods; empty: every namespace
  std::string selector;  // of pods' labels, as kubectl's -l; a cluster only
  Output output = Output::table;
};

int show_status(const View& view);
int show_stat(const View& view, StatBy by, const std::string& direction, double window_s);
int show_edges(const View& view);

// The pods the view is about: a label selector is the API server's to judge.
Result<Filter> filter_of(const View& view);

// Runs `show` again every `seconds` until Ctrl-C, each time below a line with the time; the last exit code.
int watch_view(double seconds, const std::function<int()>& show);

// `query` is "pod=...&protocol=..." as the proxies' /tap takes it. Stops after `limit` records (0: never) or
// Ctrl-C.
int show_tap(const View& view, const std::string& query, unsigned limit);
// The same records added up during `window_s` seconds, the most frequent `limit` kinds (0: all).
int show_top(const View& view, const std::string& query, double window_s, unsigned limit);

// Certificates of the nodes' pods: exit code 1 if one is not valid.
int show_identity(const View& view);
// What proxies know of services, and their endpoints. `service`: SERVICE.NAMESPACE[:PORT] or an address;
// empty: all. The view's namespace is that of the clients.
int show_endpoints(const View& view, const std::string& service);

// `source` is a pod (NAMESPACE/NAME, or NAME if there is one only), `destination` an address with port or
// SERVICE.NAMESPACE:PORT of a lab or cluster.
int show_explain(const View& view, const std::string& source, const std::string& destination);

// A GET of an admin socket of this node; its body as it is.
int show_admin(const Scope& scope, const std::string& program, const std::string& target);

struct CheckFlags {
  bool before = false;            // what an installation would need; else what running nodes must show
  double wait_s = 0;              // look again until all is well, so long at most
  std::vector<std::string> only;  // codes; empty: all
};
int show_check(const View& view, const CheckFlags& flags);
// What a code of the check means and what to do; all of them when `code` is empty.
int explain_code(const std::string& code, Output output);

}  // namespace heddle::tools
