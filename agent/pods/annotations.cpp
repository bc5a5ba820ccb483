// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/annotations.h"

#include <array>
#include <charconv>
#include <optional>

#include "bpf/shared/abi.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_value_bytes = 4096;
constexpr std::uint64_t least_bytes = 64 * 1024;
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 40;
constexpr std::uint32_t most_of_a_kind = 1'000'000'000;

// Digits, and where `with_suffix` says so one of Kubernetes' suffixes of quantities.
std::optional<std::uint64_t> quantity(std::string_view text, bool with_suffix) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 8> suffixes{
      {{"Ki", 1ULL << 10},
       {"Mi", 1ULL << 20},
       {"Gi", 1ULL << 30},
       {"Ti", 1ULL << 40},
       {"k", 1'000},
       {"M", 1'000'000},
       {"G", 1'000'000'000},
       {"T", 1'000'000'000'000}}};
  std::uint64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc{} || number > most_bytes) return std::nullopt;
  const std::string_view rest = text.substr(static_cast<std::size_t>(read.ptr - text.data()));
  if (rest.empty()) return number;
  for (const auto& [suffix, factor] : suffixes) {
    // Beyond `most_bytes` it would not fit.
    if (with_suffix && rest == suffix)
      return number > most_bytes / factor ? std::nullopt : std::optional(number * factor);
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(const Annotations& pod, const Annotations& ns, PodSettings& settings)
      : pod_(pod), ns_(ns), settings_(settings) {}

  // The pod's value, else the namespace's; nullptr when there is none or it is too long.
  const std::string* find(std::string_view key) {
    auto found = pod_.find(key);
    if (found == pod_.end()) {
      found = ns_.find(key);
      if (found == ns_.end()) return nullptr;
    }
    if (found->second.size() > max_value_bytes) {
      complain(key, "is longer than 4096 bytes");
      return nullptr;
    }
    return &found->second;
  }

  void complain(std::string_view key, std::string_view what) {
    settings_.complaints.push_back("annotation " + std::string(key) + " " + std::string(what));
  }

  void ports(std::string_view key, std::vector<PortRange>& out) {
    const auto* value = find(key);
    if (value == nullptr) return;
    auto parsed = PortRange::parse_list(*value);
    if (!parsed) {
      complain(key, "is not a list of ports: " + parsed.error().message());
      return;
    }
    out = merged(std::move(*parsed));
  }

  void port(std::string_view key, std::uint16_t& out) {
    const auto* value = find(key);
    if (value == nullptr) return;
    auto parsed = PortRange::parse(*value);
    if (!parsed || parsed->low != parsed->high || parsed->low == 0) {
      complain(key, "'" + *value + "' is not a port from 1 to 65535");
      return;
    }
    out = parsed->low;
  }

  // A whole number from `least` on.
  void number(std::string_view key, std::uint32_t least, std::uint32_t most, std::uint32_t& out) {
    const auto* value = find(key);
    if (value == nullptr) return;
    const auto parsed = quantity(*value, false);
    if (!parsed || *parsed < least || *parsed > most) {
      complain(key, "'" + *value + "' is not a whole number from " + std::to_string(least) + " to " +
                        std::to_string(most));
      return;
    }
    out = static_cast<std::uint32_t>(*parsed);
  }

  void bytes(std::string_view key, std::uint64_t& out) {
    const auto* value = find(key);
    if (value == nullptr) return;
    const auto parsed = quantity(*value, true);
    if (!parsed || *parsed < least_bytes || *parsed > most_bytes) {
      complain(key, "'" + *value + "' is not a number of bytes from 64Ki to 1Ti, like 64Mi");
      return;
    }
    out = *parsed;
  }

  void boolean(std::string_view key, bool& out) {
    const auto* value = find(key);
    if (value == nullptr) return;
    if (*value == "true") {
      out = true;
    } else if (*value == "false") {
      out = false;
    } else {
      complain(key, "'" + *value + "' is neither true nor false");
    }
  }

 private:
  const Annotations& pod_;
  const Annotations& ns_;
  PodSettings& settings_;
};

template <class Each>
void for_each_item(std::string_view list, Each each) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    auto item = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (!item.empty()) each(item);
  }
}

// Numbers, ranges, or names of the pod's ports.
void read_opaque_ports(Reader& reader, const std::map<std::string, std::uint16_t, std::less<>>& by_name,
                       PodSettings& settings) {
  constexpr std::string_view key = "config.linkerd.io/opaque-ports";
  const auto* value = reader.find(key);
  std::vector<PortRange> out;
  for_each_item(
      value != nullptr ? std::string_view(*value) : default_opaque_ports, [&](std::string_view item) {
        if (const auto named = by_name.find(item); named != by_name.end()) {
          out.push_back({named->second, named->second});
        } else if (auto parsed = PortRange::parse(item)) {
          out.push_back(*parsed);
        } else {
          reader.complain(
              key, "names '" + std::string(item) + "', which is no port, range or port name of the pod");
        }
      });
  settings.opaque_ports = merged(std::move(out));
}

void read_subnets(Reader& reader, PodSettings& settings) {
  constexpr std::string_view key = "config.linkerd.io/skip-subnets";
  const auto* value = reader.find(key);
  if (value == nullptr) return;
  for_each_item(*value, [&](std::string_view item) {
    if (auto parsed = Cidr::parse(item)) {
      if (settings.skip_subnets.size() < HEDDLE_MAX_SKIP_CIDRS) {
        settings.skip_subnets.push_back(*parsed);
      } else {
        reader.complain(key, "lists more than 16 subnets; '" + std::string(item) + "' is meshed");
      }
    } else {
      reader.complain(key, "lists '" + std::string(item) + "', which is no subnet like 10.0.0.0/8");
    }
  });
}

void limit_ports(std::vector<PortRange>& ranges, std::string_view key, Reader& reader) {
  if (ranges.size() <= HEDDLE_MAX_SKIP_PORTS) return;
  ranges.resize(HEDDLE_MAX_SKIP_PORTS);
  reader.complain(key, "has more than 16 ranges of ports; those from " +
                           std::to_string(ranges.back().high + 1) + " on are meshed");
}

void read_words(Reader& reader, PodSettings& settings) {
  if (const auto* value = reader.find("linkerd.io/inject")) {
    if (*value == "enabled" || *value == "ingress") {
      settings.inject = true;
    } else if (*value == "disabled") {
      settings.inject = false;
    } else {
      reader.complain("linkerd.io/inject", "'" + *value + "' is neither enabled nor disabled");
    }
  }
  if (const auto* value = reader.find("heddle.io/interception")) {
    if (*value == "auto") {
      settings.interception = InterceptionChoice::automatic;
    } else if (*value == "ebpf") {
      settings.interception = InterceptionChoice::ebpf;
    } else if (*value == "iptables") {
      settings.interception = InterceptionChoice::iptables;
    } else {
      reader.complain("heddle.io/interception", "'" + *value + "' is not auto, ebpf or iptables");
    }
  }
  if (const auto* value = reader.find("config.linkerd.io/default-inbound-policy")) {
    static constexpr std::array<std::string_view, 6> known{"all-unauthenticated",
                                                           "all-authenticated",
                                                           "cluster-unauthenticated",
                                                           "cluster-authenticated",
                                                           "deny",
                                                           "audit"};
    if (std::find(known.begin(), known.end(), *value) != known.end()) {
      settings.default_inbound_policy = *value;
    } else {
      // Unlike the others this one guards: what cannot be understood admits nobody.
      settings.default_inbound_policy = "deny";
      reader.complain("config.linkerd.io/default-inbound-policy",
                      "'" + *value + "' is no policy; deny holds");
    }
  }
}

}  // namespace

std::vector<PortRange> merged(std::vector<PortRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<PortRange> out;
  for (const auto& range : ranges) {
    if (!out.empty() && static_cast<unsigned>(range.low) <= static_cast<unsigned>(out.back().high) + 1) {
      out.back().high = std::max(out.back().high, range.high);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

PodSettings parse_annotations(const Annotations& pod, const Annotations& ns,
                              const std::map<std::string, std::uint16_t, std::less<>>& ports_by_name) {
  PodSettings settings;
  Reader reader(pod, ns, settings);
  read_words(reader, settings);
  reader.ports("config.linkerd.io/skip-inbound-ports", settings.skip_inbound_ports);
  reader.ports("config.linkerd.io/skip-outbound-ports", settings.skip_outbound_ports);
  reader.ports("config.linkerd.io/proxy-require-identity-inbound-ports", settings.require_identity_ports);
  reader.port("config.linkerd.io/outbound-port", settings.outbound_port);
  reader.port("config.linkerd.io/inbound-port", settings.inbound_port);
  if (settings.outbound_port == settings.inbound_port) {
    reader.complain("config.linkerd.io/inbound-port", "is the same as outbound-port; 4140 and 4143 hold");
    settings.outbound_port = default_outbound_port;
    settings.inbound_port = default_inbound_port;
  }
  reader.boolean("heddle.io/fail-open", settings.fail_open);
  reader.boolean("heddle.io/client-source", settings.client_source);
  reader.number("heddle.io/max-connections", 1, most_of_a_kind, settings.limits.connections);
  reader.number("heddle.io/max-requests", 1, most_of_a_kind, settings.limits.requests);
  reader.number("heddle.io/max-accepts-per-second", 1, most_of_a_kind, settings.limits.accepts_per_second);
  reader.number("heddle.io/cpu-weight", 1, 10'000, settings.limits.cpu_weight);
  reader.bytes("heddle.io/max-buffered-bytes", settings.limits.buffered_bytes);
  read_opaque_ports(reader, ports_by_name, settings);
  read_subnets(reader, settings);
  limit_ports(settings.skip_outbound_ports, "config.linkerd.io/skip-outbound-ports", reader);
  limit_ports(settings.skip_inbound_ports, "config.linkerd.io/skip-inbound-ports", reader);
  return settings;
}

}  // namespace heddle::agent
