// SPDX-License-Identifier: Apache-2.0
#include "cni/dialogue.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cni/json_text.h"

namespace heddle::cni {
namespace {

namespace json = boost::json;

node::CniRequest::Command wire_command(Command command) {
  switch (command) {
    case Command::add:
      return node::CniRequest::ADD;
    case Command::del:
      return node::CniRequest::DEL;
    case Command::check:
      return node::CniRequest::CHECK;
    case Command::gc:
      return node::CniRequest::GC;
    case Command::status:
      return node::CniRequest::STATUS;
    case Command::version:
      break;
  }
  return node::CniRequest::UNSPECIFIED;
}

Version first_version_with(Command command) {
  if (command == Command::check) return Version::v0_4_0;
  if (command == Command::gc || command == Command::status) return Version::v1_1_0;
  return Version::v0_3_1;
}

// libcni fills in a missing cniVersion for its own plugins; a result printed by us must carry one.
std::string with_version(const std::string& result, Version version) {
  const Span object = document(result);
  if (member(result, object, "cniVersion")) return result;
  const std::string first =
      "\"cniVersion\":\"" + std::string(supported_versions[static_cast<std::size_t>(version)]) + '"';
  const bool empty = result.find_first_not_of(" \t\r\n", object.begin + 1) == object.end - 1;
  return "{" + first + (empty ? "" : ",") + result.substr(object.begin + 1);
}

}  // namespace

std::string success_output(Command command, const NetworkConfig& config) {
  if (command != Command::add) return {};
  return with_version(*config.prev_result, config.version) + "\n";
}

Answer version_answer(std::string_view config_text) {
  json::array versions;
  for (const std::string_view version : supported_versions) versions.emplace_back(version);
  json::object out;
  out["cniVersion"] = version_for_answer(config_text);
  out["supportedVersions"] = std::move(versions);
  return {json::serialize(out) + "\n", 0};
}

Answer failure_answer(const Failure& failed, std::string_view cni_version) {
  json::object out;
  out["cniVersion"] = cni_version;
  out["code"] = failed.code;
  out["msg"] = failed.msg;
  out["details"] = failed.details;
  return {json::serialize(out) + "\n", 1};
}

Outcome<node::CniRequest> make_request(const Environment& environment, const NetworkConfig& config) {
  if (config.version < first_version_with(environment.command)) {
    const auto needed = supported_versions[static_cast<std::size_t>(first_version_with(environment.command))];
    return failure(
        Code::incompatible_version,
        std::string(name_of(environment.command)) + " does not exist in the configuration's cniVersion",
        "set cniVersion of the network configuration to " + std::string(needed) + " or newer");
  }
  if ((environment.command == Command::add || environment.command == Command::check) && !config.prev_result) {
    return failure(Code::invalid_config, "the network configuration has no prevResult",
                   "heddle-cni is a chained plugin: put it after the plugin that makes the interface; "
                   "`heddle-cni install` does so");
  }
  if (environment.command == Command::gc && !config.valid_attachments) {
    return failure(Code::invalid_config, "GC without 'cni.dev/valid-attachments'",
                   "without that list every pod would be released; use a runtime with libcni 1.2 or newer");
  }
  node::CniRequest out;
  out.set_command(wire_command(environment.command));
  out.set_container_id(environment.container_id);
  out.set_netns(environment.netns);
  out.set_ifname(environment.ifname);
  out.set_pod_namespace(environment.pod.name_space);
  out.set_pod_name(environment.pod.name);
  out.set_pod_uid(environment.pod.uid);
  out.set_network(config.name);
  for (const std::string& ip : config.ips) out.add_ips(ip);
  for (const auto& [key, value] : config.pod_annotations) (*out.mutable_pod_annotations())[key] = value;
  if (environment.command == Command::gc) {
    for (const Attachment& attachment : *config.valid_attachments) {
      auto* entry = out.add_valid_attachments();
      entry->set_container_id(attachment.container_id);
      entry->set_ifname(attachment.ifname);
    }
  }
  return out;
}

bool is_as_good_as_away(Command command, const node::CniReply& reply) {
  switch (static_cast<Code>(reply.code())) {
    case Code::try_again_later:
    case Code::not_available:
    case Code::decode:
      return true;
    case Code::unknown_container:
      return command == Command::check;
    default:
      return false;
  }
}

Outcome<std::string> read_reply(Command command, const NetworkConfig& config, const node::CniReply& reply) {
  if (reply.code() == 0 || command == Command::del ||
      (command == Command::status && is_as_good_as_away(command, reply))) {
    return success_output(command, config);
  }
  return Failure{reply.code(), reply.msg(), reply.details()};
}

Outcome<std::string> without_agent(Command command, const NetworkConfig& config, const Error& error) {
  if (command == Command::del || command == Command::status) return std::string();
  const std::string advice = "see that heddle-agent runs on this node with --run-dir " + config.run_dir +
                             " (systemctl status heddle-agent, or kubectl -n heddle get pods); "
                             "pods start once it answers";
  if (error.code == Errc::protocol) {
    return failure(Code::agent_protocol, "heddle-agent's answer cannot be read: " + error.detail,
                   "bring heddle-cni and heddle-agent to the same version: run `heddle-cni install` again");
  }
  if (error.code == boost::system::errc::permission_denied) {
    return failure(Code::io, error.message(), "heddle-cni must run as root, as container runtimes do");
  }
  if (error.code == Errc::invalid_argument) {
    return failure(Code::invalid_config, error.message(),
                   "correct runDir of heddle-cni in the network configuration");
  }
  return failure(Code::try_again_later, "heddle-agent is away: " + error.message(), advice);
}

}  // namespace heddle::cni
