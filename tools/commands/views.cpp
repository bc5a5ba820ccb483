// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "tools/commands/command.h"
#include "tools/commands/completion.h"
#include "tools/commands/scope.h"
#include "tools/http/query.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

struct ViewFlags {
  View view;
  CheckFlags check;
  bool all_namespaces = false, watch = false;
  StatBy by = StatBy::deployment;
  std::string direction = "inbound";
  double window_s = 2, top_window_s = 10;
  std::string pod, protocol, method, path;
  unsigned status = 0, limit = 0;
  std::string source, destination, shell, program, target, code, service;
};

CLI::App* view(CLI::App& app, ViewFlags& flags, const char* name, const char* text, const char* examples) {
  auto* out = app.add_subcommand(name, text);
  add_scope_flags(*out, flags.view.scope);
  out->footer(examples);
  return out;
}

// Which pods, as kubectl is told.
void add_pod_flags(CLI::App* view, ViewFlags& flags) {
  auto* ns = view->add_option("-n,--namespace", flags.view.ns, "Pods of this namespace (default: of all)");
  view->add_flag("-A,--all-namespaces", flags.all_namespaces, "Pods of all namespaces")->excludes(ns);
  view->add_option("-l,--selector", flags.view.selector, "Pods with these labels, in a cluster");
}

void add_watch(CLI::App* view, ViewFlags& flags) {
  view->add_flag("-w,--watch", flags.watch, "Again and again, until Ctrl-C");
}

int run_view(ViewFlags& flags, double pause_s, const std::function<int()>& show) {
  return flags.watch ? watch_view(pause_s, show) : show();
}

void add_figures(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* status = view(app, flags, "status", "Agents, proxies and pods of the node or lab",
                      "Examples:\n  heddle status\n  heddle status -o json | jq '.nodes[].pods[].name'");
  add_pod_flags(status, flags);
  add_watch(status, flags);
  status->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 2, [&] { return show_status(flags.view); });
    };
  });
  auto* stat = view(app, flags, "stat", "Request rate, success, latency and bytes during a window",
                    "Examples:\n  heddle stat\n  heddle stat --by pod --direction outbound --window 10");
  const std::map<std::string, StatBy> by{
      {"deployment", StatBy::deployment}, {"pod", StatBy::pod}, {"namespace", StatBy::ns}};
  stat->add_option("--by", flags.by, "deployment, pod or namespace")
      ->transform(CLI::CheckedTransformer(by).description(""));
  stat->add_option("--direction", flags.direction, "inbound or outbound")
      ->check(CLI::IsMember({"inbound", "outbound"}))
      ->capture_default_str();
  stat->add_option("--window", flags.window_s, "Seconds between the two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  add_pod_flags(stat, flags);
  add_watch(stat, flags);
  stat->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 0,
                      [&] { return show_stat(flags.view, flags.by, flags.direction, flags.window_s); });
    };
  });
  auto* edges = view(app, flags, "edges", "Who talks to whom, with which identities, encrypted or not",
                     "Examples:\n  heddle edges\n  heddle edges -o wide");
  add_pod_flags(edges, flags);
  add_watch(edges, flags);
  edges->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 2, [&] { return show_edges(flags.view); });
    };
  });
}

void add_check(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* check =
      view(app, flags, "check", "Whether heddle could run here (--pre), or whether it runs as it must",
           "Examples:\n  heddle check --pre\n  heddle check --lab lab\n  heddle check --wait 120 -o junit > "
           "check.xml");
  check->add_flag("--pre", flags.check.before,
                  "Before an installation: this machine, or the cluster and your rights in it");
  check->add_option("--wait", flags.check.wait_s, "Look again until all is well, for so many seconds at most")
      ->check(CLI::Range(0.0, 86400.0).description(""));
  check->add_option("--only", flags.check.only, "Codes to look at, such as HC304")->delimiter(',');
  check->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return show_check(flags.view, flags.check);
    };
  });
  auto* codes = app.add_subcommand("explain-code", "What a code of `heddle check` means and what to do");
  codes->add_option("CODE", flags.code, "Such as HC301; without it all are listed");
  codes->callback([&] { chosen.run = [&] { return explain_code(flags.code, chosen.output); }; });
}

// What of the records is wanted; the proxies leave the rest out.
void add_record_flags(CLI::App* view, ViewFlags& flags) {
  add_pod_flags(view, flags);
  view->add_option("--pod", flags.pod, "NAME or NAMESPACE/NAME");
  view->add_option("--protocol", flags.protocol, "http/1, http/2, grpc, tls or opaque");
  view->add_option("--method", flags.method, "GET, POST, ...");
  view->add_option("--path", flags.path, "Beginning of the path");
  view->add_option("--status", flags.status, "HTTP status")->check(CLI::Range(100, 599).description(""));
}

std::string record_query(const ViewFlags& flags) {
  std::string query;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) query += (query.empty() ? "" : "&") + std::string(name) + "=" + query_escape(value);
  };
  add("pod", flags.pod);
  add("ns", flags.view.ns);
  add("protocol", flags.protocol);
  add("method", flags.method);
  add("path", flags.path);
  if (flags.status != 0) add("status", std::to_string(flags.status));
  return query;
}

void add_tap(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* tap = view(app, flags, "tap", "Requests and connections as they end, live",
                   "Examples:\n  heddle tap\n  heddle tap --pod shop/client --protocol http/1 -o wide\n  "
                   "heddle tap --limit 10 -o json");
  add_record_flags(tap, flags);
  tap->add_option("--limit", flags.limit, "Stop after so many");
  tap->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return show_tap(flags.view, record_query(flags), flags.limit);
    };
  });
  auto* top = view(app, flags, "top", "The most frequent requests and connections of the next seconds",
                   "Examples:\n  heddle top -n shop\n  heddle top -w --window 5 --limit 20");
  add_record_flags(top, flags);
  add_watch(top, flags);
  top->add_option("--window", flags.top_window_s, "Seconds to watch")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_option("--limit", flags.limit, "Show so many kinds");
  top->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 0, [&] {
        return show_top(flags.view, record_query(flags), flags.top_window_s, flags.limit);
      });
    };
  });
}

void add_listings(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* identity = view(app, flags, "identity", "Certificates of the nodes' pods",
                        "Examples:\n  heddle identity\n  heddle identity -n shop -o yaml");
  add_pod_flags(identity, flags);
  add_watch(identity, flags);
  identity->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 2, [&] { return show_identity(flags.view); });
    };
  });
  auto* endpoints = view(app, flags, "endpoints", "What proxies know of services and their endpoints",
                         "Examples:\n  heddle endpoints\n  heddle endpoints web.shop:80 -o wide");
  endpoints->add_option("SERVICE", flags.service, "SERVICE.NAMESPACE[:PORT] or an address; all without it");
  auto* ns = endpoints->add_option("-n,--namespace", flags.view.ns,
                                   "As clients of this namespace know them (default: of all)");
  endpoints->add_flag("-A,--all-namespaces", flags.all_namespaces, "As clients of all namespaces know them")
      ->excludes(ns);
  endpoints->add_option("-l,--selector", flags.view.selector,
                        "Only endpoints that are pods with these labels, in a cluster");
  add_watch(endpoints, flags);
  endpoints->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return run_view(flags, 2, [&] { return show_endpoints(flags.view, flags.service); });
    };
  });
}

void add_explain(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* explain =
      view(app, flags, "explain", "What would happen to a connection: service, protocol, endpoints, identity",
           "Examples:\n  heddle explain shop/client web.shop:80\n  heddle explain shop/client 10.96.0.11:80");
  explain->add_option("SRC", flags.source, "Pod that connects: NAMESPACE/NAME")->required();
  explain->add_option("DST:PORT", flags.destination, "Address and port, or SERVICE.NAMESPACE:PORT")
      ->required();
  explain->callback([&] {
    chosen.run = [&] {
      flags.view.output = chosen.output;
      return show_explain(flags.view, flags.source, flags.destination);
    };
  });
}

void add_admin(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* admin =
      app.add_subcommand("admin", "A page of the admin socket of this node's agent or proxy, as it is");
  admin->add_option("--run-dir", flags.view.scope.run_dir,
                    "Run folder of the node's heddle (default: /run/heddle)");
  admin->add_option("PROGRAM", flags.program, "agent or proxy")
      ->required()
      ->check(CLI::IsMember({"agent", "proxy"}).description(""));
  admin->add_option("TARGET", flags.target, "Path and query, such as /state")->required();
  admin->footer("Examples:\n  heddle admin agent /state\n  heddle admin proxy '/tap?protocol=opaque'");
  admin->callback([&] {
    chosen.run = [&] {
      Scope scope;
      scope.run_dir = flags.view.scope.run_dir.empty() ? "/run/heddle" : flags.view.scope.run_dir;
      return show_admin(scope, flags.program, flags.target);
    };
  });
}

void add_completion(CLI::App& app, Chosen& chosen, ViewFlags& flags) {
  auto* completion = app.add_subcommand("completion", "Print a shell's completion script");
  completion->add_option("SHELL", flags.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer(
      "Examples:\n  source <(heddle completion bash)\n  heddle completion fish > "
      "~/.config/fish/completions/heddle.fish");
  completion->callback([&] {
    chosen.run = [&] {
      auto script = completion_script(flags.shell, completion_entries(app));
      if (!script) return report(script.error());
      std::cout << *script;
      return 0;
    };
  });
}

}  // namespace

void add_view_commands(CLI::App& app, Chosen& chosen) {
  static ViewFlags flags;
  add_figures(app, chosen, flags);
  add_check(app, chosen, flags);
  add_tap(app, chosen, flags);
  add_listings(app, chosen, flags);
  add_explain(app, chosen, flags);
  add_admin(app, chosen, flags);
  add_completion(app, chosen, flags);
}

}  // namespace heddle::tools
