// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>

#include "tools/capture/show.h"
#include "tools/commands/command.h"
#include "tools/lab/client.h"
#include "tools/lab/commands.h"
#include "tools/lab/daemon.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// Values of all lab subcommands' flags; lives as long as the application.
struct LabFlags {
  LabOptions options;
  std::string name;
  bool no_mesh = false, kill = false;
  unsigned timeout_s = 60;
  std::string pod, container, program, node, path, kind;
  CaptureRequest capture;
  std::vector<std::string> command, agent_flags, proxy_flags, control_flags;
};

int list_labs(Output output) {
  json::array labs;
  Table table({"LAB", "NAMESPACE", "POD", "NODE", "STATUS", "READY", "IP", ">RESTARTS", "NOTE"});
  for (const auto& name : lab_names()) {
    auto layout = LabLayout::of(name);
    if (!layout) continue;
    auto status = ask_lab(*layout, {{"op", "status"}});
    if (!status) {
      labs.push_back(json::object{{"name", name}, {"error", error_text(status.error())}});
      table.add({name, "", "", "", "Dead", "", "", "", "heddle lab down --name " + name});
      continue;
    }
    for (const auto& value : status->at("pods").as_array()) {
      const auto& pod = value.as_object();
      std::string ips;
      for (const auto& ip : pod.at("ips").as_array()) {
        if (ips.empty() || output == Output::wide)
          ips += (ips.empty() ? "" : ",") + std::string(ip.as_string());
      }
      table.add({name, text_at(pod, {"namespace"}), text_at(pod, {"name"}), text_at(pod, {"node"}),
                 text_at(pod, {"phase"}), text_at(pod, {"ready"}), ips, text_at(pod, {"restarts"}),
                 text_at(pod, {"message"})});
    }
    labs.push_back(std::move(*status));
  }
  if (is_document(output)) {
    std::cout << document_text(json::object{{"labs", std::move(labs)}}, output);
  } else if (labs.empty()) {
    std::cout << "no lab is up\n";
  } else {
    std::cout << table.render();
  }
  return 0;
}

template <class T>
int done(const Result<T>& result) {
  return result ? 0 : report(result.error());
}

void add_up(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* up = lab.add_subcommand("up", "Bring up a lab described by Kubernetes YAML");
  up->add_option("FOLDER", flags.options.folder, "Folder (or file) of Kubernetes objects")->required();
  up->add_option("--name", flags.options.name, "The lab's name")->capture_default_str();
  up->add_flag("--no-mesh", flags.no_mesh, "No heddle: the bare CNI chain, for comparisons");
  up->add_option("--interception", flags.options.interception, "auto, ebpf or iptables")
      ->check(CLI::IsMember({"auto", "ebpf", "iptables"}))
      ->capture_default_str();
  up->add_option("--default-inject", flags.options.default_inject, "Mesh pods without an annotation")
      ->check(CLI::IsMember({"enabled", "disabled"}))
      ->capture_default_str();
  up->add_option("--bin-dir", flags.options.bin_dir,
                 "Folder of heddle's programs (default: beside this one)");
  up->add_option("--timeout", flags.timeout_s, "Seconds to wait for the pods")->capture_default_str();
  up->add_option("--program-log-level", flags.options.log_level, "Of heddle's programs")
      ->capture_default_str();
  up->add_option("--agent-flag", flags.agent_flags, "Extra flag for heddle-agent (repeatable)")
      ->allow_extra_args(false);
  up->add_option("--proxy-flag", flags.proxy_flags, "Extra flag for heddle-proxy (repeatable)")
      ->allow_extra_args(false);
  up->add_option("--control-flag", flags.control_flags, "Extra flag for heddle-control (repeatable)")
      ->allow_extra_args(false);
  up->footer(
      "Examples:\n  heddle lab up examples/shop\n  heddle lab up examples/shop --interception iptables "
      "--name two");
  up->callback([&] {
    chosen.run = [&] {
      flags.options.mesh = !flags.no_mesh;
      flags.options.extra_flags = {
          {"agent", flags.agent_flags}, {"proxy", flags.proxy_flags}, {"control", flags.control_flags}};
      return done(lab_up(flags.options, std::chrono::seconds(flags.timeout_s), false));
    };
  });
}

void add_down_and_list(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* down = lab.add_subcommand("down", "Remove a lab and everything it made, also a half-made one");
  down->add_option("NAME,--name", flags.name, "The lab (default: `lab`, or the only one)");
  bool& all = flags.kill;
  down->add_flag("--all", all, "Every lab of this machine");
  down->footer("Examples:\n  heddle lab down\n  heddle lab down two\n  heddle lab down --all");
  down->callback([&] {
    chosen.run = [&] {
      if (all) {
        int code = 0;
        for (const auto& name : lab_names()) code |= done(lab_down(name));
        return code;
      }
      const auto names = lab_names();
      if (flags.name.empty() && names.empty()) return 0;
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      // Fine all the same, for scripts that tidy up; a person may have mistyped it.
      if (std::find(names.begin(), names.end(), layout->name) == names.end())
        std::cerr << "heddle: no lab " << layout->name << " is up; `heddle lab list` shows labs\n";
      return done(lab_down(layout->name));
    };
  });
  auto* list = lab.add_subcommand("list", "Labs and their pods");
  list->footer("Examples:\n  heddle lab list\n  heddle lab list -o json");
  list->callback([&] { chosen.run = [&] { return list_labs(chosen.output); }; });
}

void add_exec(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* exec = lab.add_subcommand("exec", "Run a command in a pod");
  exec->add_option("POD", flags.pod, "NAME, NAMESPACE/NAME or deploy/NAME")->required();
  exec->add_option("-c,--container", flags.container, "Container (default: the first that runs)");
  exec->add_option("--name", flags.name, "The lab (default: `lab`, or the only one)");
  exec->add_option("CMD", flags.command, "Command and arguments, after --")->required();
  exec->footer(
      "Examples:\n  heddle lab exec client -- curl -s http://web.shop/\n  heddle lab exec deploy/web -- ss "
      "-tn");
  exec->callback([&] {
    chosen.run = [&] {
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      auto place = find_pod(*layout, flags.pod, flags.container);
      if (!place) return report(place.error());
      auto code = lab_exec(*layout, *place, flags.command);
      return code ? *code : report(code.error());
    };
  });
}

void add_restart(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* restart =
      lab.add_subcommand("restart", "Restart (proxy: upgrade without a lost connection) or kill a program");
  restart->add_option("PROGRAM", flags.program, "agent, proxy or control")
      ->required()
      ->check(CLI::IsMember({"agent", "proxy", "control"}));
  restart->add_flag("--kill", flags.kill, "kill -9 instead of an orderly restart");
  restart->add_option("--node", flags.node, "One node only");
  restart->add_option("--name", flags.name, "The lab (default: `lab`, or the only one)");
  restart->footer("Examples:\n  heddle lab restart proxy\n  heddle lab restart agent --kill --node node-1");
  restart->callback([&] {
    chosen.run = [&] {
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      return done(lab_restart(*layout, flags.program, flags.node, flags.kill));
    };
  });
}

void add_apply_and_delete(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* apply = lab.add_subcommand("apply", "Add objects to a lab that is up, and wait for its pods");
  apply->add_option("PATH", flags.path, "Folder or file of Kubernetes objects")->required();
  apply->add_option("--name", flags.name, "The lab (default: `lab`, or the only one)");
  apply->add_option("--timeout", flags.timeout_s, "Seconds to wait for the pods");
  apply->footer("Example:\n  heddle lab apply more-pods.yaml");
  apply->callback([&] {
    chosen.run = [&] {
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      const auto path = std::filesystem::absolute(flags.path).string();
      if (auto asked = ask_lab(*layout, {{"op", "apply"}, {"path", path}}); !asked)
        return report(asked.error());
      return done(wait_for_pods(*layout, std::chrono::seconds(flags.timeout_s)));
    };
  });
  auto* remove = lab.add_subcommand(
      "delete",
      "Delete an object of a lab, or all with a name that begins so: NAME* (a pod: stopped, CNI DEL)");
  remove->add_option("KIND", flags.kind, "Pod, Deployment, Service, ...")->required();
  remove->add_option("NAME", flags.pod, "NAME or NAMESPACE/NAME")->required();
  remove->add_option("--name", flags.name, "The lab (default: `lab`, or the only one)");
  remove->footer("Example:\n  heddle lab delete Pod shop/client");
  remove->callback([&] {
    chosen.run = [&] {
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      const auto slash = flags.pod.find('/');
      const auto ns = slash == std::string::npos ? "default" : flags.pod.substr(0, slash);
      return done(
          ask_lab(*layout, {{"op", "delete"},
                            {"kind", flags.kind},
                            {"namespace", ns},
                            {"name", slash == std::string::npos ? flags.pod : flags.pod.substr(slash + 1)}}));
    };
  });
}

void add_capture(CLI::App& lab, Chosen& chosen, LabFlags& flags) {
  auto* capture = lab.add_subcommand("capture", "What passes a node's wire: TLS or readable, per connection");
  capture->add_option("NODE", flags.node, "Node of the lab")->required();
  capture->add_option("--interface", flags.capture.interface, "Of the node")->capture_default_str();
  capture->add_option("--seconds", flags.capture.seconds, "Stop by itself (default: Ctrl-C)");
  capture->add_option("-w,--write", flags.capture.pcap_file,
                      "Every frame into this file, for tcpdump or Wireshark");
  capture->add_option("--name", flags.name, "The lab (default: `lab`, or the only one)");
  capture->footer(
      "Examples:\n  heddle lab capture node-1\n  heddle lab capture node-1 --seconds 5 -w node-1.pcap -o "
      "json");
  capture->callback([&] {
    chosen.run = [&] {
      auto layout = find_lab(flags.name);
      if (!layout) return report(layout.error());
      auto status = ask_lab(*layout, {{"op", "status"}});
      if (!status) return report(status.error());
      std::string known;
      for (const auto& node : status->at("nodes").as_array()) {
        const auto name = text_at(node.as_object(), {"name"});
        if (name == flags.node) flags.capture.netns = text_at(node.as_object(), {"netns"});
        known += (known.empty() ? "" : ", ") + name;
      }
      if (flags.capture.netns.empty()) {
        return report(make_error(Errc::not_found,
                                 "no node " + flags.node + " in lab " + layout->name + "; it has " + known));
      }
      return show_capture(flags.capture, chosen.output);
    };
  });
}

}  // namespace

void add_lab_commands(CLI::App& app, Chosen& chosen) {
  static LabFlags flags;
  auto* lab =
      app.add_subcommand("lab", "Nodes and pods on this machine: network namespaces, the real CNI chain");
  lab->require_subcommand(1);
  lab->fallthrough();
  add_up(*lab, chosen, flags);
  add_down_and_list(*lab, chosen, flags);
  add_exec(*lab, chosen, flags);
  add_restart(*lab, chosen, flags);
  add_apply_and_delete(*lab, chosen, flags);
  add_capture(*lab, chosen, flags);
  auto* daemon = app.add_subcommand("lab-daemon", "The process behind a lab; started by `lab up`")->group("");
  daemon->add_option("NAME", flags.name)->required();
  daemon->callback([&] {
    chosen.run = [&] {
      auto layout = LabLayout::of(flags.name);
      return layout ? run_lab_daemon(*layout) : report(layout.error());
    };
  });
}

}  // namespace heddle::tools
