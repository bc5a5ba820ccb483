// SPDX-License-Identifier: Apache-2.0
// install, upgrade, uninstall and render: YAML on stdout, words on stderr.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/io/file.h"
#include "tools/commands/command.h"
#include "tools/deploy/cluster.h"
#include "tools/deploy/manifest.h"
#include "tools/deploy/uninstall.h"
#include "tools/deploy/values.h"
#include "tools/output/json.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// What the command line says; everything about the installation itself becomes values.
struct Request {
  std::string platform;
  std::string kubernetes_version;
  std::vector<std::string> value_files;
  std::vector<std::string> assignments;
  std::vector<std::pair<std::string, std::string>> flags;  // path of a value, and what it is set to
  bool ipv6 = false;
  bool diff = false;
  bool allow_downgrade = false;
  bool values_only = false;
  bool nodes = false;
  bool apply = false;
  unsigned timeout_s = 180;
  ClusterFlags cluster;
  std::string chart_folder;
  std::string kustomize_folder;
};

// A flag that stands for one value.
struct ValueFlag {
  const char* flag;
  const char* path;
  const char* text;
};
constexpr ValueFlag value_flags[] = {
    {"--namespace", "namespace", "Namespace of the control plane, the agent and the proxy (heddle)"},
    {"--registry", "registry", "Registry and path of the image (localhost)"},
    {"--image-pull-policy", "imagePullPolicy", "Always, IfNotPresent or Never"},
    {"--cni-bin-dir", "cni.binDir", "The node's folder of CNI plugins"},
    {"--cni-conf-dir", "cni.confDir", "The node's folder of network configurations"},
    {"--control-replicas", "control.replicas", "Number of heddle-control's pods"},
    {"--log-level", "logLevel", "trace, debug, info, warn, error or off"},
    {"--log-format", "logFormat", "plain or json"},
    {"--cluster-domain", "clusterDomain", "Domain of services' names"},
    {"--trust-domain", "trustDomain", "Last part of identities"},
    {"--interception", "agent.interception", "auto, ebpf or iptables"},
    {"--startup-taint", "startupTaint", "true: take heddle.io/agent-not-ready off ready nodes"},
    {"--control-host", "controlHost", "Host under which nodes reach heddle-control (its Service)"},
};

// "registry.example/mesh/heddle:1" is a registry and an image.
void add_image(json::object& chosen, const std::string& reference) {
  const auto slash = reference.rfind('/');
  if (slash != std::string::npos) set_path(chosen, "registry", json::value(reference.substr(0, slash)));
  const auto name = slash == std::string::npos ? reference : reference.substr(slash + 1);
  set_path(chosen, "image", json::value(name));
}

Result<> add_files(json::object& chosen, const std::vector<std::string>& files) {
  for (const auto& name : files) {
    const auto text = read_file(name);
    if (!text) return text.error();
    const auto values = read_values(*text, name);
    if (!values) return values.error();
    lay_over(chosen, *values);
  }
  return {};
}

// Everything but the defaults, weakest first: platform, cluster's version, --ipv6, files, flags, --set.
Result<json::object> chosen_values(const Request& request) {
  json::object chosen;
  if (!request.platform.empty()) {
    auto values = platform_values(request.platform);
    if (!values) return values.error();
    lay_over(chosen, *values);
  }
  if (!request.kubernetes_version.empty()) {
    auto values = version_values(request.kubernetes_version);
    if (!values) return values.error();
    lay_over(chosen, *values);
  }
  if (request.ipv6) {
    set_path(chosen, "bindAddress", "[::]");
    set_path(chosen, "ipFamilyPolicy", "PreferDualStack");
  }
  if (auto added = add_files(chosen, request.value_files); !added) return added.error();
  for (const auto& [path, text] : request.flags) {
    if (path == "image") {
      add_image(chosen, text);
    } else if (auto set = set_value(chosen, path + "=" + text); !set) {
      return set.error();
    }
  }
  for (const auto& assignment : request.assignments) {
    if (auto set = set_value(chosen, assignment); !set) return set.error();
  }
  return chosen;
}

Result<json::object> complete(const json::object& chosen) {
  auto values = default_values();
  if (!values) return values.error();
  lay_over(*values, chosen);
  bracket_control_host(*values);
  if (auto ok = check_values(*values); !ok) return ok.error();
  return values;
}

int print_manifest(const Request& request, const json::object& chosen, const char* command) {
  const auto values = complete(chosen);
  if (!values) return report(values.error());
  auto manifest = render_manifest(*values);
  if (!manifest) return report(manifest.error());
  *manifest += render_choice(*values, chosen, HEDDLE_VERSION);
  if (request.diff) {
    const auto status = show_difference(*manifest);
    return status ? *status : report(status.error());
  }
  std::cout << *manifest;
  std::cerr << "heddle: image " << values->at("registry").as_string().c_str() << "/"
            << values->at("image").as_string().c_str() << "; apply with `heddle " << command
            << " | kubectl apply -f -`\n";
  return 0;
}

int run_install(const Request& request) {
  const auto chosen = chosen_values(request);
  return chosen ? print_manifest(request, *chosen, "install") : report(chosen.error());
}

int run_upgrade(const Request& request) {
  const auto chosen = chosen_values(request);
  if (!chosen) return report(chosen.error());
  const auto values = complete(*chosen);
  if (!values) return report(values.error());
  auto installed = read_installed(std::string(values->at("namespace").as_string()));
  if (!installed) return report(installed.error());
  if (is_downgrade(installed->version, HEDDLE_VERSION) && !request.allow_downgrade) {
    return report(make_error(
        Errc::unsupported,
        "version " + installed->version +
            " is installed and this is " HEDDLE_VERSION
            ": an older agent does not read what a newer one left on the nodes. Use that version's "
            "heddle, or --allow-downgrade"));
  }
  lay_over(installed->chosen, *chosen);
  return print_manifest(request, installed->chosen, "upgrade");
}

int run_uninstall(const Request& request) {
  const auto chosen = chosen_values(request);
  if (!chosen) return report(chosen.error());
  const auto values = complete(*chosen);
  if (!values) return report(values.error());
  if (request.apply) {
    ClusterFlags cluster = request.cluster;
    cluster.control_namespace = values->at("namespace").as_string();
    return apply_uninstall(cluster, *chosen, std::chrono::seconds(request.timeout_s));
  }
  const auto removal = render_removal(*values, request.nodes ? Removal::nodes : Removal::everything);
  if (!removal) return report(removal.error());
  std::cout << *removal;
  std::cerr << "heddle: delete with `heddle uninstall" << (request.nodes ? " --nodes" : "")
            << " | kubectl delete -f -`, which waits until the nodes are clean\n";
  return 0;
}

int write_files(const std::string& folder, const std::vector<File>& files) {
  for (const auto& file : files) {
    const std::string path = folder + "/" + file.path;
    if (auto made = make_directories(path.substr(0, path.rfind('/'))); !made) return report(made.error());
    if (auto written = write_file_atomically(path, file.text, 0644); !written) return report(written.error());
    std::cerr << "heddle: wrote " << path << "\n";
  }
  return 0;
}

int run_render(const Request& request) {
  const auto chosen = chosen_values(request);
  if (!chosen) return report(chosen.error());
  const auto values = complete(*chosen);
  if (!values) return report(values.error());
  if (request.values_only) {
    std::cout << json_text(*values, true) << "\n";
    return 0;
  }
  if (!request.chart_folder.empty()) return write_files(request.chart_folder, helm_chart(*values));
  if (!request.kustomize_folder.empty()) {
    const auto files = kustomize_files(*values);
    return files ? write_files(request.kustomize_folder, *files) : report(files.error());
  }
  const auto manifest = render_manifest(*values);
  if (!manifest) return report(manifest.error());
  std::cout << *manifest;
  return 0;
}

void add_value_flags(CLI::App& command, Request& request) {
  for (const auto& known : value_flags) {
    const std::string path = known.path;
    command.add_option_function<std::string>(
        known.flag, [&request, path](const std::string& text) { request.flags.emplace_back(path, text); },
        known.text);
  }
  command.add_option_function<std::string>(
      "--image", [&request](const std::string& text) { request.flags.emplace_back("image", text); },
      "Image: NAME:TAG, or REGISTRY/NAME:TAG, or with a digest");
  std::string names;
  for (const auto& name : platform_names()) names += (names.empty() ? "" : ", ") + name;
  command.add_option("--platform", request.platform, "Where nodes keep their CNI files: " + names);
  command.add_option("--kubernetes-version", request.kubernetes_version,
                     "Of the cluster, when it is older than 1.22: 1.20");
  command.add_flag("--ipv6", request.ipv6, "Listen on IPv6 too, and ask for dual-stack Services");
  command
      .add_option("--set", request.assignments,
                  "KEY=VALUE of values.yaml, repeatable: --set control.replicas=3")
      ->allow_extra_args(false);
  command.add_option("--values", request.value_files, "YAML file of values, repeatable")
      ->allow_extra_args(false);
}

CLI::App* add_command(CLI::App& app, Chosen& chosen, Request& request, const char* name, const char* text,
                      int (*run)(const Request&)) {
  auto* command = app.add_subcommand(name, text);
  add_value_flags(*command, request);
  command->callback([&chosen, &request, run] { chosen.run = [&request, run] { return run(request); }; });
  return command;
}

}  // namespace

void add_deploy_commands(CLI::App& app, Chosen& chosen) {
  static Request request;
  auto* install = add_command(app, chosen, request, "install",
                              "Print what a cluster needs, as YAML for kubectl apply", run_install);
  auto* upgrade =
      add_command(app, chosen, request, "upgrade",
                  "Print the same for a cluster that has heddle, with the values chosen at its installation",
                  run_upgrade);
  for (auto* command : {install, upgrade})
    command->add_flag("--diff", request.diff,
                      "Show with `kubectl diff` what would change; exit status 1 if anything");
  upgrade->add_flag("--allow-downgrade", request.allow_downgrade, "Even if a newer version is installed");
  install->footer(
      "Examples:\n  heddle install | kubectl apply -f -\n  heddle install --platform k3s --image "
      "registry.example/heddle:0.1.0 | kubectl apply -f -");
  auto* uninstall = add_command(
      app, chosen, request, "uninstall",
      "Remove heddle from a cluster (--apply), or print what to delete, as YAML for kubectl", run_uninstall);
  auto* apply = uninstall->add_flag(
      "--apply", request.apply, "Delete it, agents first, and wait until nothing is left; needs no kubectl");
  uninstall->add_option("--timeout", request.timeout_s, "Seconds to wait with --apply")
      ->check(CLI::Range(1U, 86400U).description(""))
      ->capture_default_str()
      ->needs(apply);
  uninstall->add_option("--kubeconfig", request.cluster.kubeconfig, "With --apply: the cluster of this file")
      ->needs(apply);
  uninstall->add_option("--context", request.cluster.context, "With --apply: the cluster of this context")
      ->needs(apply);
  uninstall
      ->add_flag("--insecure-skip-tls-verify", request.cluster.insecure_skip_tls_verify,
                 "Do not verify the API server's certificate")
      ->needs(apply);
  uninstall
      ->add_flag("--nodes", request.nodes,
                 "Only what runs on nodes, which agents clean up; the control plane and the issuer stay")
      ->excludes(apply);
  uninstall->footer(
      "Examples:\n  heddle uninstall | kubectl delete -f -\n  heddle uninstall --apply\n  heddle uninstall "
      "--nodes | "
      "kubectl delete --cascade=foreground -f -");
  auto* render =
      add_command(app, chosen, request, "render",
                  "Print the objects only, or write them as a Helm chart or kustomize base", run_render);
  auto* chart = render->add_option("--chart", request.chart_folder, "Write a Helm chart to this folder");
  auto* kustomize =
      render->add_option("--kustomize", request.kustomize_folder, "Write a kustomize base to this folder");
  auto* only = render->add_flag("--values-only", request.values_only, "Print the values, as JSON");
  chart->excludes(kustomize);
  only->excludes(chart)->excludes(kustomize);
}

}  // namespace heddle::tools
