// SPDX-License-Identifier: Apache-2.0
#include "agent/cni/request.h"

#include <cerrno>

#include "api/node.pb.h"
#include "base/message_size.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_id_bytes = 253;
constexpr std::size_t max_path_bytes = 4096;
constexpr int max_ips = 64;
constexpr int max_annotations = 512;

Error malformed(std::string what) {
  return make_error(Errc::invalid_argument, std::move(what));
}

// The CNI specification: alphanumerical first, then also '_', '.', '-'. They become file names and log
// fields.
bool is_container_id(std::string_view id) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (id.empty() || id.size() > max_id_bytes || !alphanumeric(id.front())) return false;
  return std::all_of(id.begin(), id.end(),
                     [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

// At most 15 bytes, no '/', ':' or white space, not "." or ".." (the CNI specification, and the kernel's
// dev_valid_name()).
bool is_ifname(std::string_view name) {
  if (name.empty() || name.size() > 15 || name == "." || name == "..") return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return c > ' ' && c != '/' && c != ':' && c != 127; });
}

bool is_plain_text(std::string_view text, std::size_t limit) {
  return text.size() <= limit && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) >= 0x20 && c != 127 && c != '"';
         });
}

Result<> read_attachments(const node::CniRequest& request, CniCall& call) {
  for (const auto& attachment : request.valid_attachments()) {
    if (!is_container_id(attachment.container_id()) || !is_ifname(attachment.ifname())) {
      return malformed("valid attachment '" + attachment.container_id().substr(0, 80) +
                       "' is not a container id " + "with an interface name");
    }
    call.valid_attachments.emplace_back(attachment.container_id(), attachment.ifname());
  }
  return {};
}

Result<> read_pod(const node::CniRequest& request, CniCall& call) {
  if (!is_container_id(request.container_id())) {
    return malformed("container id '" + request.container_id().substr(0, 80) +
                     "' must begin with a letter or digit, of letters, digits, '_', '.', '-'");
  }
  if (!is_ifname(request.ifname())) {
    return malformed("interface name '" + request.ifname().substr(0, 80) + "' is not one");
  }
  if (!is_plain_text(request.netns(), max_path_bytes)) return malformed("CNI_NETNS is too long or no path");
  if (!is_plain_text(request.pod_namespace(), max_id_bytes) ||
      !is_plain_text(request.pod_name(), max_id_bytes) || !is_plain_text(request.pod_uid(), max_id_bytes)) {
    return malformed("K8S_POD_NAMESPACE, K8S_POD_NAME or K8S_POD_UID is too long or has control characters");
  }
  if (request.ips_size() > max_ips) return malformed("prevResult has more than 64 addresses");
  if (request.pod_annotations_size() > max_annotations)
    return malformed("the pod has more than 512 annotations");
  call.container_id = request.container_id();
  call.ifname = request.ifname();
  call.netns_path = request.netns();
  call.pod_namespace = request.pod_namespace();
  call.pod_name = request.pod_name();
  call.pod_uid = request.pod_uid();
  for (const auto& text : request.ips()) {
    auto ip = IpAddress::parse(text);
    if (!ip) return malformed("prevResult's address '" + text.substr(0, 80) + "' is no IP address");
    call.ips.push_back(*ip);
  }
  call.annotations_told = request.pod_annotations_size() > 0;
  // Only what heddle reads: pods carry annotations of many kilobytes.
  for (const auto& [key, value] : request.pod_annotations()) {
    if (key.find("linkerd.io/") != std::string::npos || key.find("heddle.io/") != std::string::npos) {
      call.annotations[key] = value.size() > 8192 ? value.substr(0, 8192) : value;
    }
  }
  return {};
}

}  // namespace

std::string_view to_string(CniCommand command) {
  switch (command) {
    case CniCommand::add:
      return "ADD";
    case CniCommand::del:
      return "DEL";
    case CniCommand::check:
      return "CHECK";
    case CniCommand::gc:
      return "GC";
    case CniCommand::status:
      return "STATUS";
  }
  return "unknown";
}

Result<CniCall> decode_cni_call(std::string_view bytes, std::size_t descriptors) {
  node::CniRequest request;
  if (bytes.size() > max_unix_message_bytes ||
      !request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return malformed(
        "the message is no CniRequest of api/node.proto; plugin and agent may differ in version");
  }
  CniCall call;
  std::size_t least = 0;
  std::size_t most = 0;
  switch (request.command()) {
    case node::CniRequest::ADD:
      call.command = CniCommand::add;
      least = most = 1;
      break;
    case node::CniRequest::DEL:
      call.command = CniCommand::del;
      most = 1;
      break;
    case node::CniRequest::CHECK:
      call.command = CniCommand::check;
      least = most = 1;
      break;
    case node::CniRequest::GC:
      call.command = CniCommand::gc;
      break;
    case node::CniRequest::STATUS:
      call.command = CniCommand::status;
      break;
    default:
      return malformed("command " + std::to_string(request.command()) + " is not known to this agent");
  }
  if (descriptors < least || descriptors > most) {
    return malformed(std::string(to_string(call.command)) + " came with " + std::to_string(descriptors) +
                     " descriptors instead of " + std::to_string(most));
  }
  if (!is_plain_text(request.network(), max_id_bytes)) return malformed("the network's name is too long");
  call.network = request.network();
  if (call.command == CniCommand::gc) {
    if (auto read = read_attachments(request, call); !read) return read.error();
  } else if (call.command != CniCommand::status) {
    if (auto read = read_pod(request, call); !read) return read.error();
  }
  return call;
}

std::string encode_cni_answer(const CniAnswer& answer) {
  node::CniReply reply;
  reply.set_code(static_cast<std::uint32_t>(answer.code));
  reply.set_msg(answer.msg);
  reply.set_details(answer.details);
  reply.set_meshed(answer.meshed);
  reply.set_answered(true);  // never an empty message
  return reply.SerializeAsString();
}

CniAnswer explain_failure(const Error& error) {
  const auto is = [&](Errc code) { return error.code == make_error_code(code); };
  const auto is_system = [&](int value) {
    return error.code == boost::system::error_code(value, boost::system::generic_category());
  };
  if (is_system(EADDRINUSE)) {
    return {CniCode::port_taken, "heddle: " + error.message(),
            "another program listens there already (a second mesh?); set config.linkerd.io/outbound-port and "
            "inbound-port on the pod to free ports"};
  }
  if (is_system(EMFILE) || is_system(ENFILE) || is_system(ENOMEM) || is_system(ENOBUFS) ||
      is_system(EAGAIN)) {
    return {CniCode::try_again, "heddle: " + error.message(),
            "heddle-agent ran out of descriptors, memory or processes; raise its LimitNOFILE, memory or pids "
            "limit"};
  }
  if (is_system(ENOSPC) || is_system(EROFS) || is_system(EDQUOT) || is_system(EIO)) {
    return {CniCode::try_again, "heddle: " + error.message(), "free space where --run-dir is"};
  }
  if (is(Errc::exhausted))
    return {CniCode::too_many_pods, "heddle: " + error.message(), "schedule the pod elsewhere"};
  if (is(Errc::unavailable) || is(Errc::timeout)) {
    return {CniCode::try_again, "heddle: " + error.message(), "the runtime tries again by itself"};
  }
  if (is(Errc::invalid_argument)) return {CniCode::invalid_environment, "heddle: " + error.message(), ""};
  return {CniCode::not_captured, "heddle: cannot intercept the pod: " + error.message(),
          "see `heddle check` on this node; annotate the pod with heddle.io/interception or "
          "linkerd.io/inject: disabled "
          "to start it otherwise"};
}

}  // namespace heddle::agent
