// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/manifest.h"

#include <algorithm>

#include "tools/deploy/chart_files.h"
#include "tools/deploy/template.h"
#include "tools/deploy/values.h"
#include "tools/lab/yaml.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr std::string_view templates = "templates/";

constexpr int last_rank_of_nodes = 2;

// Smaller goes first.
int removal_rank(const json::object& object) {
  const std::string_view kind = object.at("kind").as_string();
  if (kind == "MutatingWebhookConfiguration") return 0;
  if (kind == "DaemonSet") return object.at("metadata").at("name").as_string() == "heddle-agent" ? 1 : 2;
  if (kind == "Deployment") return 3;
  if (kind == "Namespace") return 9;
  if (kind.ends_with("Binding")) return 6;
  if (kind.ends_with("Role")) return 7;
  if (kind == "ServiceAccount") return 8;
  return 4;
}

std::string text_at(const json::object& object, std::string_view key) {
  const auto* found = object.if_contains(key);
  return found && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::string removal_of(const std::string& version, const std::string& kind, const std::string& name,
                       const std::string& space) {
  std::string out = "---\napiVersion: " + version + "\nkind: " + kind + "\nmetadata:\n  name: " + name + "\n";
  if (!space.empty()) out += "  namespace: " + space + "\n";
  return out;
}

bool is_default(const json::object& values) {
  const auto defaults = default_values();
  return defaults && *defaults == values;
}

// Map keys in their order, two spaces per level; what has no structure or is empty as JSON, which is YAML.
void write_yaml(std::string& out, const json::object& object, int depth) {
  for (const auto& [key, value] : object) {
    out += std::string(static_cast<std::size_t>(depth) * 2, ' ') + json::serialize(json::string(key)) + ":";
    if (value.is_object() && !value.get_object().empty()) {
      out += "\n";
      write_yaml(out, value.get_object(), depth + 1);
    } else {
      out += " " + json::serialize(value) + "\n";
    }
  }
}

}  // namespace

Result<std::string> render_manifest(const json::object& values) {
  std::string out;
  for (const auto& file : chart_files()) {
    if (!file.path.starts_with(templates)) continue;
    auto text = fill_template(file.text, values, std::string(file.path));
    if (!text) return text.error();
    if (text->find_first_not_of(" \n") != std::string::npos) out += "---\n" + *text;
  }
  return out;
}

Result<std::string> render_removal(const json::object& values, Removal removal) {
  const auto manifest = render_manifest(values);
  if (!manifest) return manifest.error();
  auto objects = parse_objects(*manifest, "manifest");
  if (!objects) return objects.error();
  std::stable_sort(objects->begin(), objects->end(), [](const json::object& a, const json::object& b) {
    return removal_rank(a) < removal_rank(b);
  });
  std::string out;
  for (const auto& object : *objects) {
    if (removal == Removal::nodes && removal_rank(object) > last_rank_of_nodes) break;
    const auto& metadata = object.at("metadata").as_object();
    out += removal_of(text_at(object, "apiVersion"), text_at(object, "kind"), text_at(metadata, "name"),
                      text_at(metadata, "namespace"));
  }
  if (removal == Removal::everything && !values.at("createNamespace").as_bool()) {
    const std::string space = text_at(values, "namespace");
    for (const char* name : {choice_name, "heddle-trust-anchors"})
      out += removal_of("v1", "ConfigMap", name, space);
    out += removal_of("v1", "Secret", text_at(values.at("control").as_object(), "issuerSecret"), space);
    out += removal_of("v1", "Secret", "heddle-injector-tls", space);
  }
  return out;
}

Result<std::vector<File>> kustomize_files(const json::object& values) {
  auto manifest = render_manifest(values);
  if (!manifest) return manifest.error();
  const std::string head = "# SPDX-License-Identifier: Apache-2.0\n# Made by `heddle render --kustomize`.\n";
  return std::vector<File>{
      {"heddle.yaml", head + *manifest},
      {"kustomization.yaml",
       head +
           "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- heddle.yaml\n"}};
}

std::vector<File> helm_chart(const json::object& values) {
  std::vector<File> out;
  for (const auto& file : chart_files()) {
    std::string text(file.text);
    if (file.path == "values.yaml" && !is_default(values)) {
      text = "# SPDX-License-Identifier: Apache-2.0\n# Made by `heddle render --chart`.\n";
      write_yaml(text, values, 0);
    }
    out.push_back({std::string(file.path), std::move(text)});
  }
  return out;
}

std::string render_choice(const json::object& values, const json::object& chosen,
                          const std::string& version) {
  const auto quoted = [](const std::string& text) { return json::serialize(json::string(text)); };
  return "---\n# For `heddle upgrade`: what was chosen, and by which version.\napiVersion: v1\nkind: "
         "ConfigMap\nmetadata:\n  name: " +
         std::string(choice_name) + "\n  namespace: " + text_at(values, "namespace") +
         "\n  labels: {app.kubernetes.io/name: heddle}\ndata:\n  version: " + quoted(version) +
         "\n  values: " + quoted(json::serialize(chosen)) + "\n";
}

}  // namespace heddle::tools
