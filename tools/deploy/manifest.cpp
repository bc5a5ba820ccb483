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

struct Named {
  std::string api_version, kind, name, ns;
  bool of_nodes = false;
};

// In the order in which they go.
Result<std::vector<Named>> objects_to_remove(const json::object& values) {
  const auto manifest = render_manifest(values);
  if (!manifest) return manifest.error();
  auto objects = parse_objects(*manifest, "manifest");
  if (!objects) return objects.error();
  std::stable_sort(objects->begin(), objects->end(), [](const json::object& a, const json::object& b) {
    return removal_rank(a) < removal_rank(b);
  });
  const bool with_namespace = values.at("createNamespace").as_bool();
  std::vector<Named> out;
  for (const auto& object : *objects) {
    const auto& metadata = object.at("metadata").as_object();
    const auto kind = text_at(object, "kind");
    if (with_namespace && kind == "PodDisruptionBudget") continue;
    out.push_back({text_at(object, "apiVersion"), kind, text_at(metadata, "name"),
                   text_at(metadata, "namespace"), removal_rank(object) <= last_rank_of_nodes});
  }
  if (with_namespace) return out;
  const std::string space = text_at(values, "namespace");
  for (const char* name : {choice_name, "heddle-trust-anchors"})
    out.push_back({"v1", "ConfigMap", name, space});
  for (const auto& name :
       {text_at(values.at("control").as_object(), "issuerSecret"), std::string("heddle-injector-tls")})
    out.push_back({"v1", "Secret", name, space});
  return out;
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
  const auto named = objects_to_remove(values);
  if (!named) return named.error();
  std::string out;
  for (const auto& object : *named) {
    if (removal == Removal::nodes && !object.of_nodes) break;
    out += "---\napiVersion: " + object.api_version + "\nkind: " + object.kind +
           "\nmetadata:\n  name: " + object.name + "\n";
    if (!object.ns.empty()) out += "  namespace: " + object.ns + "\n";
  }
  return out;
}

Result<RemovalPlan> removal_plan(const json::object& values) {
  const auto named = objects_to_remove(values);
  if (!named) return named.error();
  RemovalPlan out;
  for (const auto& object : *named) {
    (object.of_nodes ? out.nodes : out.rest)
        .push_back({object.kind, object.name, object.ns,
                    object_path(object.api_version, object.kind, object.ns, object.name)});
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
