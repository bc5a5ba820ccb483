// SPDX-License-Identifier: Apache-2.0
#include "agent/state/state_file.h"

#include <boost/json.hpp>

#include <limits>
#include <optional>

namespace heddle::agent {
namespace json = boost::json;
namespace {

constexpr std::int64_t format_version = 1;
constexpr std::size_t max_text = 4096;
constexpr std::size_t max_entries = 65536;

json::array encode_ips(const std::vector<IpAddress>& ips) {
  json::array out;
  for (const auto& ip : ips) out.emplace_back(ip.to_string());
  return out;
}

json::object encode_map(const Annotations& map) {
  json::object out;
  for (const auto& [key, value] : map) out[key] = value;
  return out;
}

json::object encode_source(const SourcePod& source) {
  json::object ports;
  for (const auto& [name, port] : source.ports_by_name) ports[name] = port;
  return {{"uid", source.uid},
          {"service_account", source.service_account},
          {"annotations", encode_map(source.annotations)},
          {"namespace_annotations", encode_map(source.namespace_annotations)},
          {"labels", encode_map(source.labels)},
          {"ips", encode_ips(source.ips)},
          {"ports", std::move(ports)}};
}

// Reads fields of one object and remembers the first thing that is wrong.
class Fields {
 public:
  Fields(const json::object& object, std::string where, std::optional<Error>& error)
      : object_(object), where_(std::move(where)), error_(error) {}

  std::string text(std::string_view key, bool required = false) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr) {
      if (required) fail(key, "is missing");
      return {};
    }
    const auto* text = value->if_string();
    if (text == nullptr || text->size() > max_text) {
      fail(key, "is not a text of at most 4096 bytes");
      return {};
    }
    return std::string(text->data(), text->size());
  }

  std::uint64_t number(std::string_view key, std::uint64_t limit) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr) return 0;
    std::uint64_t out = 0;
    if (value->is_uint64()) {
      out = value->get_uint64();
    } else if (value->is_int64() && value->get_int64() >= 0) {
      out = static_cast<std::uint64_t>(value->get_int64());
    } else {
      fail(key, "is not a number from 0");
      return 0;
    }
    if (out > limit) {
      fail(key, "is larger than " + std::to_string(limit));
      return 0;
    }
    return out;
  }

  bool boolean(std::string_view key) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr) return false;
    if (!value->is_bool()) fail(key, "is neither true nor false");
    return value->is_bool() && value->get_bool();
  }

  Annotations map(std::string_view key) {
    Annotations out;
    const auto* object = child(key);
    if (object == nullptr) return out;
    for (const auto& entry : *object) {
      const auto* text = entry.value().if_string();
      if (text == nullptr || text->size() > 256 * 1024) {
        fail(key, "has a value that is no text");
        return out;
      }
      out.emplace(std::string(entry.key()), std::string(text->data(), text->size()));
    }
    return out;
  }

  std::vector<IpAddress> ips(std::string_view key) {
    std::vector<IpAddress> out;
    const auto* list = array(key);
    if (list == nullptr) return out;
    for (const auto& entry : *list) {
      const auto* text = entry.if_string();
      auto ip = IpAddress::parse(text == nullptr ? std::string_view()
                                                 : std::string_view(text->data(), text->size()));
      if (!ip) {
        fail(key, "lists something that is no IP address");
        return out;
      }
      out.push_back(*ip);
    }
    return out;
  }

  const json::array* array(std::string_view key) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr) return nullptr;
    const auto* list = value->if_array();
    if (list == nullptr || list->size() > max_entries) fail(key, "is not a list of at most 65536 entries");
    return list != nullptr && list->size() <= max_entries ? list : nullptr;
  }

  const json::object* child(std::string_view key) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr) return nullptr;
    const auto* object = value->if_object();
    if (object == nullptr || object->size() > max_entries) fail(key, "is not an object");
    return object != nullptr && object->size() <= max_entries ? object : nullptr;
  }

  void fail(std::string_view key, std::string_view what) {
    if (!error_) {
      error_ = make_error(Errc::invalid_argument, where_ + "." + std::string(key) + " " + std::string(what));
    }
  }

 private:
  const json::object& object_;
  std::string where_;
  std::optional<Error>& error_;
};

SourcePod decode_source(const json::object& object, const std::string& where, std::optional<Error>& error) {
  Fields fields(object, where + ".source", error);
  SourcePod out;
  out.uid = fields.text("uid");
  out.service_account = fields.text("service_account");
  if (out.service_account.empty()) out.service_account = "default";
  out.annotations = fields.map("annotations");
  out.namespace_annotations = fields.map("namespace_annotations");
  out.labels = fields.map("labels");
  out.ips = fields.ips("ips");
  if (const auto* ports = fields.child("ports")) {
    Fields each(*ports, where + ".source.ports", error);
    for (const auto& entry : *ports) {
      out.ports_by_name[std::string(entry.key())] =
          static_cast<std::uint16_t>(each.number(entry.key(), 65535));
    }
  }
  return out;
}

Sandbox decode_sandbox(const json::object& object, const std::string& where, std::optional<Error>& error) {
  Fields fields(object, where, error);
  Sandbox out;
  SandboxFacts& facts = out.facts;
  facts.container_id = fields.text("container_id", true);
  facts.netns_path = fields.text("netns");
  facts.netns_cookie = fields.number("cookie", std::numeric_limits<std::uint64_t>::max());
  facts.pod_namespace = fields.text("namespace");
  facts.pod_name = fields.text("name");
  facts.pod_uid = fields.text("uid");
  facts.annotations = fields.map("annotations");
  facts.netns_addresses = fields.ips("addresses");
  if (const auto* list = fields.array("attachments")) {
    for (const auto& entry : *list) {
      const auto* attachment = entry.if_object();
      if (attachment == nullptr) {
        fields.fail("attachments", "lists something that is no object");
        break;
      }
      Fields each(*attachment, where + ".attachments", error);
      facts.attachments.push_back({each.text("ifname", true), each.text("network"), each.ips("ips")});
    }
  }
  if (const auto* source = fields.child("source")) facts.source = decode_source(*source, where, error);
  out.pod_id = static_cast<std::uint32_t>(fields.number("pod_id", std::numeric_limits<std::uint32_t>::max()));
  out.spec.meshed = fields.boolean("meshed");
  const auto mode = fields.text("mode");
  if (mode != "ebpf" && mode != "iptables") fields.fail("mode", "is neither ebpf nor iptables");
  out.mode = mode == "iptables" ? Mode::iptables : Mode::ebpf;
  out.outbound_port = static_cast<std::uint16_t>(fields.number("outbound_port", 65535));
  out.inbound_port = static_cast<std::uint16_t>(fields.number("inbound_port", 65535));
  out.rules = fields.boolean("rules") || (out.spec.meshed && out.mode == Mode::iptables);
  out.path_reachable = fields.boolean("path_reachable");
  out.pinned = fields.boolean("pinned");
  return out;
}

}  // namespace

std::string encode_sandbox(const Sandbox& sandbox) {
  const SandboxFacts& facts = sandbox.facts;
  json::array attachments;
  for (const auto& attachment : facts.attachments) {
    attachments.push_back(json::object{
        {"ifname", attachment.ifname}, {"network", attachment.network}, {"ips", encode_ips(attachment.ips)}});
  }
  json::object out{{"container_id", facts.container_id},
                   {"netns", facts.netns_path},
                   {"cookie", facts.netns_cookie},
                   {"pod_id", sandbox.pod_id},
                   {"meshed", sandbox.spec.meshed},
                   {"mode", std::string(to_string(sandbox.mode))},
                   {"namespace", facts.pod_namespace},
                   {"name", facts.pod_name},
                   {"uid", facts.pod_uid},
                   {"annotations", encode_map(facts.annotations)},
                   {"attachments", std::move(attachments)},
                   {"addresses", encode_ips(facts.netns_addresses)},
                   {"outbound_port", sandbox.outbound_port},
                   {"inbound_port", sandbox.inbound_port},
                   {"rules", sandbox.rules},
                   {"path_reachable", sandbox.path_reachable},
                   {"pinned", sandbox.pinned}};
  if (facts.source) out["source"] = encode_source(*facts.source);
  return json::serialize(out);
}

std::string encode_state(std::uint32_t mark, std::string_view boot,
                         const std::vector<std::string_view>& sandboxes) {
  std::string out = "{\"version\":" + std::to_string(format_version) + ",\"mark\":" + std::to_string(mark) +
                    ",\"boot\":" + json::serialize(json::string(boot)) + ",\"sandboxes\":[";
  bool first = true;
  for (const auto line : sandboxes) {
    out.append(first ? "\n" : ",\n").append(line);
    first = false;
  }
  return out.append("\n]}\n");
}

Result<SavedState> decode_state(std::string_view text) {
  json::parse_options options;
  options.max_depth = 8;
  boost::system::error_code code;
  json::value value;
  try {
    value = json::parse(text, code, {}, options);
  } catch (const std::exception& failure) {  // out of memory for what the text claims
    return make_error(Errc::invalid_argument, std::string("the state is no JSON: ") + failure.what());
  }
  if (code) return make_error(Errc::invalid_argument, "the state is no JSON: " + code.message());
  const auto* object = value.if_object();
  if (object == nullptr) return make_error(Errc::invalid_argument, "the state is no JSON object");
  std::optional<Error> error;
  Fields fields(*object, "state", error);
  if (const auto version = fields.number("version", 1'000'000); version != format_version) {
    return make_error(Errc::unsupported, "the state has format version " + std::to_string(version) +
                                             ", this heddle-agent reads 1; run the version that wrote it");
  }
  SavedState out;
  out.mark = static_cast<std::uint32_t>(fields.number("mark", std::numeric_limits<std::uint32_t>::max()));
  out.boot = fields.text("boot");
  if (const auto* list = fields.array("sandboxes")) {
    for (std::size_t i = 0; i < list->size() && !error; ++i) {
      const std::string where = "sandboxes[" + std::to_string(i) + "]";
      const auto* entry = (*list)[i].if_object();
      if (entry == nullptr) return make_error(Errc::invalid_argument, where + " is no object");
      out.sandboxes.push_back(decode_sandbox(*entry, where, error));
    }
  } else if (!error) {
    error = make_error(Errc::invalid_argument, "state.sandboxes is missing");
  }
  if (error) return *error;
  return out;
}

}  // namespace heddle::agent
