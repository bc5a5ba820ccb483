// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/cni_chain.h"

#include <unistd.h>

#include "base/io/file.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds plugin_deadline{60};

Result<std::string> find_plugin(const CniRuntime& runtime, const std::string& type) {
  std::string tried;
  for (const auto& folder : runtime.bin_folders) {
    auto path = folder + "/" + type;
    if (::access(path.c_str(), X_OK) == 0) return path;
    tried += (tried.empty() ? "" : ", ") + folder;
  }
  return make_error(Errc::not_found, "CNI plugin " + type + " is in none of " + tried +
                                         "; install containernetworking-plugins or build heddle-cni");
}

std::string plugin_type(const json::object& list, std::size_t index) {
  return std::string(list.at("plugins").as_array()[index].as_object().at("type").as_string());
}

struct Outcome {
  json::value result;
  std::string error;  // empty: done
  int code = 0;
};

Result<Outcome> run_plugin(const CniRuntime& runtime, const json::object& list, std::size_t index,
                           const char* command, const CniAttachment& attachment,
                           const json::value& previous) {
  const auto type = plugin_type(list, index);
  auto program = find_plugin(runtime, type);
  if (!program) return program.error();
  std::string path;
  for (const auto& folder : runtime.bin_folders) path += (path.empty() ? "" : ":") + folder;
  SpawnSpec spec;
  spec.argv = {*program};
  spec.clear_env = true;
  spec.env = {{"CNI_COMMAND", command},        {"CNI_CONTAINERID", attachment.container_id},
              {"CNI_NETNS", attachment.netns}, {"CNI_IFNAME", attachment.ifname},
              {"CNI_ARGS", attachment.args},   {"CNI_PATH", path}};
  spec.netns = runtime.node_netns;
  spec.cgroup = runtime.cgroup;
  const auto config = cni_plugin_config(list, index, previous, attachment.capabilities);
  auto done = run(spec, json::serialize(config), plugin_deadline);
  if (!done) return done.error();
  Outcome out;
  boost::system::error_code malformed;
  out.result = done->out.empty() ? json::value(nullptr) : json::parse(done->out, malformed);
  if (done->timed_out) {
    out.error = type + " " + command + " did not end within 60 s";
  } else if (!done->exit.ok()) {
    out.error = type + " " + command + " failed: " +
                (done->out.empty() ? done->exit.to_string() + " " + done->err : cni_error_text(done->out));
    if (const auto* object = out.result.if_object()) {
      if (const auto* code = object->if_contains("code"); code && code->is_int64()) {
        out.code = static_cast<int>(code->get_int64());
      }
    }
  } else if (malformed) {
    out.error = type + " " + command + " printed no JSON: " + done->out.substr(0, 200);
  }
  return out;
}

std::string cache_file(const CniRuntime& runtime, const CniAttachment& attachment) {
  return runtime.cache_folder + "/" + attachment.container_id + "-" + attachment.ifname + ".json";
}

json::value cached_result(const CniRuntime& runtime, const CniAttachment& attachment) {
  const auto text = read_file(cache_file(runtime, attachment));
  if (!text) return nullptr;
  boost::system::error_code malformed;
  auto value = json::parse(*text, malformed);
  return malformed ? json::value(nullptr) : value;
}

}  // namespace

json::object cni_plugin_config(const json::object& list, std::size_t index, const json::value& previous,
                               const json::object& capabilities) {
  json::object config = list.at("plugins").as_array()[index].as_object();
  json::object runtime_config;
  if (const auto* wanted = config.if_contains("capabilities"); wanted && wanted->is_object()) {
    for (const auto& [name, enabled] : wanted->get_object()) {
      if (enabled.is_bool() && enabled.get_bool() && capabilities.contains(name)) {
        runtime_config[name] = capabilities.at(name);
      }
    }
  }
  config.erase("capabilities");
  if (!runtime_config.empty()) config["runtimeConfig"] = std::move(runtime_config);
  config["name"] = list.at("name");
  config["cniVersion"] = list.at("cniVersion");
  if (!previous.is_null()) config["prevResult"] = previous;
  return config;
}

std::string cni_error_text(const std::string& out) {
  boost::system::error_code malformed;
  const auto value = json::parse(out, malformed);
  const auto* object = malformed ? nullptr : value.if_object();
  if (!object) return out.substr(0, 500);
  const auto text = [&](const char* member) {
    const auto* found = object->if_contains(member);
    return found && found->is_string() ? std::string(found->get_string()) : std::string();
  };
  const auto* code = object->if_contains("code");
  auto sentence = text("msg");
  if (code) sentence += " (code " + json::serialize(*code) + ")";
  if (!text("details").empty()) sentence += ": " + text("details");
  return sentence;
}

std::vector<std::string> cni_result_ips(const json::value& result) {
  std::vector<std::string> out;
  const auto* object = result.if_object();
  const auto* ips = object ? object->if_contains("ips") : nullptr;
  if (!ips || !ips->is_array()) return out;
  for (const auto& ip : ips->get_array()) {
    const auto* entry = ip.if_object();
    const auto* address = entry ? entry->if_contains("address") : nullptr;
    if (!address || !address->is_string()) continue;
    const std::string text(address->get_string());
    out.push_back(text.substr(0, text.find('/')));
  }
  std::stable_partition(out.begin(), out.end(),
                        [](const auto& ip) { return ip.find(':') == std::string::npos; });
  return out;
}

Result<json::value> cni_add(const CniRuntime& runtime, const json::object& list,
                            const CniAttachment& attachment, CniFailure* failure) {
  json::value previous;
  const auto count = list.at("plugins").as_array().size();
  for (std::size_t i = 0; i < count; ++i) {
    auto outcome = run_plugin(runtime, list, i, "ADD", attachment, previous);
    const std::string error = !outcome ? outcome.error().message() : outcome->error;
    if (!error.empty()) {
      if (failure) *failure = {plugin_type(list, i), outcome ? outcome->code : 0};
      (void)cni_del(runtime, list, attachment);
      return make_error(Errc::unavailable, error);
    }
    previous = std::move(outcome->result);
  }
  if (auto made = make_directories(runtime.cache_folder, 0700); !made) return made.error();
  if (auto kept = write_file_atomically(cache_file(runtime, attachment), json::serialize(previous), 0600);
      !kept) {
    return kept.error();
  }
  return previous;
}

Result<> cni_del(const CniRuntime& runtime, const json::object& list, const CniAttachment& attachment) {
  const auto previous = cached_result(runtime, attachment);
  std::optional<Error> first;
  for (std::size_t i = list.at("plugins").as_array().size(); i-- > 0;) {
    auto outcome = run_plugin(runtime, list, i, "DEL", attachment, previous);
    const std::string error = !outcome ? outcome.error().message() : outcome->error;
    if (!error.empty() && !first) first = make_error(Errc::unavailable, error);
  }
  if (first) return *first;
  ::unlink(cache_file(runtime, attachment).c_str());
  return {};
}

Result<> cni_check(const CniRuntime& runtime, const json::object& list, const CniAttachment& attachment) {
  const auto previous = cached_result(runtime, attachment);
  for (std::size_t i = 0; i < list.at("plugins").as_array().size(); ++i) {
    auto outcome = run_plugin(runtime, list, i, "CHECK", attachment, previous);
    if (!outcome) return outcome.error();
    if (!outcome->error.empty()) return make_error(Errc::unavailable, outcome->error);
  }
  return {};
}

}  // namespace heddle::tools
