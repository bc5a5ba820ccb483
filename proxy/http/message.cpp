// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/message.h"

#include <array>
#include <charconv>

#include "proxy/http/strict.h"

namespace heddle::proxy::http {
namespace {

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> table{};
  for (char c = '0'; c <= '9'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::size_t usual_text = 512;
constexpr std::size_t usual_fields = 16;
constexpr auto token_table = make_token_table();

bool starts_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && equal_ignoring_case(text.substr(0, prefix.size()), prefix);
}

template <class Each>
void each_list_member(std::string_view list, Each each) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view member = trim(list.substr(0, comma));
    if (!member.empty()) each(member);
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
}

// What Connection may never remove: framing, routing, identity.
bool is_protected(Name id) {
  return id == Name::host || id == Name::content_length || id == Name::l5d_client_id ||
         id == Name::l5d_orig_proto || id == Name::l5d_proxy_error || id == Name::mesh;
}

struct ConnectionOptions {
  bool close = false, keep_alive = false, upgrade = false;
  std::size_t count = 0;
};

ConnectionOptions connection_options(const Fields& fields) {
  ConnectionOptions found;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != Name::connection) continue;
    each_list_member(fields.value(i), [&](std::string_view option) {
      ++found.count;
      if (equal_ignoring_case(option, "close")) found.close = true;
      if (equal_ignoring_case(option, "keep-alive")) found.keep_alive = true;
      if (equal_ignoring_case(option, "upgrade")) found.upgrade = true;
    });
  }
  return found;
}

struct Framing {
  bool chunked = false;
  std::optional<std::uint64_t> length;
};

// RFC 9112 6.3, but strict: anything two servers might read differently is refused.
Result<Framing> find_framing(const Fields& fields, Version version) {
  Framing framing;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) == Name::transfer_encoding) {
      if (version != Version::http1_1)
        return make_error(Errc::protocol, "transfer-encoding outside HTTP/1.1");
      if (framing.chunked) return make_error(Errc::protocol, "transfer-encoding twice");
      if (!equal_ignoring_case(fields.value(i), "chunked"))
        return make_error(Errc::protocol, "transfer-encoding other than chunked");
      framing.chunked = true;
    } else if (fields.id(i) == Name::content_length) {
      const auto length = parse_content_length(fields.value(i));
      if (!length) return make_error(Errc::protocol, "content-length is not a number");
      if (framing.length && *framing.length != *length)
        return make_error(Errc::protocol, "two content-lengths differ");
      framing.length = length;
    } else if (fields.id(i) == Name::other && resembles_framing(fields.name(i))) {
      return make_error(Errc::protocol, "a field that some take for content-length or transfer-encoding");
    }
  }
  if (framing.chunked && framing.length)
    return make_error(Errc::protocol, "both transfer-encoding and content-length");
  return framing;
}

std::string wanted_protocols(const Fields& fields) {
  std::string wanted;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != Name::upgrade) continue;
    const std::string more = without_http(fields.value(i));
    if (!wanted.empty() && !more.empty()) wanted += ", ";
    wanted += more;
  }
  return wanted;
}

// Of several equal ones only the first stays: the next reader may be less strict.
void drop_repeated_length(Fields& fields) {
  bool seen = false;
  fields.remove_if([&](std::size_t i) {
    if (fields.id(i) != Name::content_length) return false;
    return std::exchange(seen, true);
  });
}

// "http://authority/path": the authority and where the path begins.
struct AbsoluteForm {
  std::string_view scheme, authority, path;
};
std::optional<AbsoluteForm> split_absolute(std::string_view target) {
  std::size_t scheme = 0;
  if (starts_ignoring_case(target, "http://")) scheme = 4;
  if (starts_ignoring_case(target, "https://")) scheme = 5;
  if (scheme == 0) return std::nullopt;
  AbsoluteForm form;
  form.scheme = target.substr(0, scheme);
  const std::size_t begin = scheme + 3;
  const std::size_t end = std::min(target.find_first_of("/?", begin), target.size());
  form.authority = target.substr(begin, end - begin);
  form.path = target.substr(end);
  return form;
}

bool is_visible(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) return false;
  }
  return true;
}

// A path as servers see it, with its query (RFC 9112 3.2.1, 3.2.4).
bool is_path(std::string_view target, std::string_view method) {
  if (target == "*") return method == "OPTIONS";
  return target.starts_with('/') && target.find('#') == std::string_view::npos;
}

// At most one Host, and that one a host. Empty it may be where HTTP/1 has nothing to say (RFC 9110 7.2).
Result<std::size_t> check_hosts(const Fields& fields) {
  std::size_t hosts = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != Name::host) continue;
    if (++hosts > 1) return make_error(Errc::protocol, "host more than once");
    if (!fields.value(i).empty() && !is_authority(fields.value(i)))
      return make_error(Errc::protocol, "host is no host");
  }
  return hosts;
}

// What could be written as HTTP/1 in two ways must not come in by HTTP/2 either.
Result<> settle_http2_target(const RequestHead& head) {
  if (!is_token(head.method()) || !is_visible(head.target()) || !is_visible(head.scheme()))
    return make_error(Errc::protocol, "malformed pseudo-header field");
  if (const auto hosts = check_hosts(head.fields); !hosts) return hosts.error();
  if (!is_authority(head.authority())) return make_error(Errc::protocol, ":authority is no host");
  if (const auto host = head.fields.find(Name::host); host && !same_authority(*host, head.authority()))
    return make_error(Errc::protocol, ":authority and host differ");
  if (head.is_connect() || is_path(head.target(), head.method())) return {};
  return make_error(Errc::protocol, ":path is no path");
}

Result<> settle_target(RequestHead& head) {
  if (head.version == Version::http2) return settle_http2_target(head);
  const auto hosts = check_hosts(head.fields);
  if (!hosts) return hosts.error();
  if (*hosts == 0 && head.version == Version::http1_1) return make_error(Errc::protocol, "no host");
  const std::string_view target = head.target();
  if (head.is_connect()) {
    if (is_authority(target, true)) return {};
    return make_error(Errc::protocol, "CONNECT without host:port");
  }
  if (is_path(target, head.method())) return {};
  const auto absolute = split_absolute(target);
  if (!absolute || !is_authority(absolute->authority) || target.find('#') != std::string_view::npos)
    return make_error(Errc::protocol, "target is neither a path nor a URL");
  head.absolute_form = true;
  // What the target says counts, whatever Host says (RFC 9112 3.2.2): servers may look at either.
  head.fields.remove(Name::host);
  return {};
}

}  // namespace

const char* to_string(Version version) {
  switch (version) {
    case Version::http1_0:
      return "HTTP/1.0";
    case Version::http1_1:
      return "HTTP/1.1";
    case Version::http2:
      return "HTTP/2";
  }
  return "HTTP/1.1";
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!token_table[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

bool is_field_value(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return false;
  }
  return true;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Name recognise(std::string_view name) {
  if (name.empty()) return Name::other;
  const auto is = [name](std::string_view known) { return equal_ignoring_case(name, known); };
  switch (lower(name.front())) {
    case 'c':
      if (is("connection")) return Name::connection;
      if (is("content-length")) return Name::content_length;
      if (is("content-type")) return Name::content_type;
      break;
    case 'e':
      if (is("expect")) return Name::expect;
      break;
    case 'g':
      if (is("grpc-status")) return Name::grpc_status;
      break;
    case 'h':
      if (is("host")) return Name::host;
      if (is("http2-settings")) return Name::http2_settings;
      if (is_mesh_name(name)) return Name::mesh;
      break;
    case 'k':
      if (is("keep-alive")) return Name::keep_alive;
      break;
    case 'l':
      if (!is_mesh_name(name)) break;
      if (is("l5d-client-id")) return Name::l5d_client_id;
      if (is("l5d-orig-proto")) return Name::l5d_orig_proto;
      if (is("l5d-proxy-error")) return Name::l5d_proxy_error;
      return Name::mesh;
    case 'p':
      if (is("proxy-connection")) return Name::proxy_connection;
      break;
    case 't':
      if (is("transfer-encoding")) return Name::transfer_encoding;
      if (is("te")) return Name::te;
      break;
    case 'u':
      if (is("upgrade")) return Name::upgrade;
      break;
    default:
      break;
  }
  return Name::other;
}

Slice Fields::keep(std::string_view text) {
  // One allocation for what a head usually has, instead of growing through five sizes.
  if (text_.capacity() < usual_text) text_.reserve(usual_text);
  const Slice slice{static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(text.size())};
  text_.append(text);
  return slice;
}

void Fields::add_slices(Slice name, Slice value) {
  if (fields_.capacity() == 0) fields_.reserve(usual_fields);

  fields_.push_back({name, value, recognise(view(name))});
}

void Fields::add(std::string_view name, std::string_view value) {
  const Slice kept_name = keep(name);
  const Slice kept_value = keep(value);
  add_slices(kept_name, kept_value);
}

std::optional<std::string_view> Fields::find(Name id) const {
  for (const Field& field : fields_) {
    if (field.id == id) return view(field.value);
  }
  return std::nullopt;
}

std::optional<std::string_view> Fields::find(std::string_view name) const {
  for (const Field& field : fields_) {
    if (equal_ignoring_case(view(field.name), name)) return view(field.value);
  }
  return std::nullopt;
}

void Fields::remove(Name which) {
  remove_if([&](std::size_t i) { return id(i) == which; });
}

void Fields::remove(std::string_view which) {
  remove_if([&](std::size_t i) { return equal_ignoring_case(name(i), which); });
}

std::string_view RequestHead::authority() const {
  if (authority_.size != 0) return fields.view(authority_);
  if (is_connect()) return target();
  if (absolute_form) {
    if (const auto form = split_absolute(target())) return form->authority;
  }
  return fields.find(Name::host).value_or("");
}

std::string_view RequestHead::scheme() const {
  if (scheme_.size != 0) return fields.view(scheme_);
  // Only these two make an absolute target.
  return absolute_form && starts_ignoring_case(target(), "https:") ? "https" : "http";
}

std::string_view RequestHead::path() const {
  if (!absolute_form) return target();
  const auto form = split_absolute(target());
  if (!form) return target();
  if (!form->path.empty()) return form->path;
  return method() == "OPTIONS" ? std::string_view("*")
                               : std::string_view("/");  // RFC 9112 3.2.4, RFC 9113 8.3.1
}

bool RequestHead::is_idempotent() const {
  const std::string_view name = method();
  return name == "GET" || name == "HEAD" || name == "OPTIONS" || name == "TRACE" || name == "PUT" ||
         name == "DELETE";
}

bool RequestHead::is_grpc() const {
  const auto type = fields.find(Name::content_type);
  return type && starts_ignoring_case(*type, "application/grpc");
}

void RequestHead::clear() {
  fields.clear();
  version = Version::http1_1;
  content = Content::none;
  length = 0;
  wants_close = wants_continue = is_upgrade = absolute_form = false;
  upgrade.clear();
  method_ = target_ = scheme_ = authority_ = {};
}

void ResponseHead::clear() {
  fields.clear();
  version = Version::http1_1;
  content = Content::none;
  length = 0;
  status = 0;
  wants_close = false;
  upgrade.clear();
  reason_ = {};
}

bool response_has_no_content(std::uint16_t status, bool to_head, bool to_connect) {
  return to_head || status < 200 || status == 204 || status == 304 || (to_connect && status < 300);
}

const char* reason_phrase(std::uint16_t status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

void strip_hop_by_hop(Fields& fields) {
  // Names listed in Connection first; the views stay good, as removal moves entries and not text.
  std::vector<std::string_view> named;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != Name::connection) continue;
    each_list_member(fields.value(i), [&](std::string_view option) {
      if (equal_ignoring_case(option, "close") || equal_ignoring_case(option, "keep-alive") ||
          equal_ignoring_case(option, "upgrade") || is_protected(recognise(option)))
        return;
      if (named.size() < max_connection_options) named.push_back(option);
    });
  }
  bool trailers_welcome = false;
  fields.remove_if([&](std::size_t i) {
    switch (fields.id(i)) {
      case Name::te:
        each_list_member(fields.value(i), [&](std::string_view coding) {
          if (equal_ignoring_case(coding, "trailers")) trailers_welcome = true;
        });
        return true;
      case Name::connection:
      case Name::keep_alive:
      case Name::proxy_connection:
      case Name::transfer_encoding:
      case Name::upgrade:
      case Name::http2_settings:
        return true;
      default:
        break;
    }
    for (const std::string_view name : named) {
      if (equal_ignoring_case(fields.name(i), name)) return true;
    }
    return false;
  });
  if (trailers_welcome) fields.add("te", "trailers");
}

void strip_mesh_fields(Fields& fields) {
  fields.remove_if([&](std::size_t i) {
    const Name id = fields.id(i);
    return id == Name::l5d_client_id || id == Name::l5d_orig_proto || id == Name::l5d_proxy_error ||
           id == Name::mesh;
  });
}

void settle_trailers(Fields& trailers) {
  strip_hop_by_hop(trailers);
  strip_mesh_fields(trailers);
  trailers.remove_if([&](std::size_t i) {
    switch (trailers.id(i)) {
      case Name::content_length:
      case Name::host:
      case Name::expect:
        return true;
      case Name::other:
        break;
      default:
        return false;
    }
    for (const std::string_view refused : {"authorization", "proxy-authorization", "cookie", "set-cookie",
                                           "content-encoding", "content-range", "max-forwards"}) {
      if (equal_ignoring_case(trailers.name(i), refused)) return true;
    }
    return resembles_framing(trailers.name(i));
  });
}

void join_cookies(Fields& fields) {
  std::string joined;
  std::size_t found = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!equal_ignoring_case(fields.name(i), "cookie")) continue;
    if (found++ != 0) joined += "; ";
    joined += fields.value(i);
  }
  if (found < 2) return;
  fields.remove("cookie");
  fields.add("cookie", joined);
}

ResponseHead make_error_response(std::uint16_t status, std::string_view reason, bool grpc) {
  ResponseHead head;
  head.status = status;
  if (grpc) {
    // The mapping of linkerd2-proxy: 14 UNAVAILABLE, 4 DEADLINE_EXCEEDED, 7 PERMISSION_DENIED, 13 INTERNAL.
    // It has none for a head that is too large: gRPC itself says 8 RESOURCE_EXHAUSTED.
    const char* code = "14";
    if (status == 403) code = "7";
    if (status == 404) code = "5";
    if (status == 431) code = "8";
    if (status == 504) code = "4";
    if (status == 500 || status == 400) code = "13";
    head.status = 200;
    head.fields.add("content-type", "application/grpc");
    head.fields.add("grpc-status", code);
    head.fields.add("grpc-message", reason);
  } else {
    head.fields.add("content-length", "0");
  }
  head.fields.add("l5d-proxy-error", reason);
  return head;
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<> settle(RequestHead& head) {
  if (const auto ok = settle_target(head); !ok) return ok.error();
  const auto framing = find_framing(head.fields, head.version);
  if (!framing) return framing.error();
  drop_repeated_length(head.fields);
  head.content = framing->chunked ? Content::streamed : framing->length ? Content::sized : Content::none;
  head.length = framing->length.value_or(0);
  if (const auto expect = head.fields.find(Name::expect))
    head.wants_continue = equal_ignoring_case(*expect, "100-continue");
  // RFC 9110 9.3.8: there is none, and a server that knows takes it for the next request.
  if (head.method() == "TRACE" && (head.content == Content::streamed || head.length != 0))
    return make_error(Errc::protocol, "TRACE with content");
  if (head.version == Version::http2) return {};
  const ConnectionOptions options = connection_options(head.fields);
  if (options.count > max_connection_options) return make_error(Errc::protocol, "connection names too much");
  head.wants_close = options.close || (head.version == Version::http1_0 && !options.keep_alive);
  head.is_upgrade = head.is_connect();
  if (options.upgrade && head.version == Version::http1_1) {
    // HTTP/2 by upgrade is declined by not passing it on.
    head.upgrade = wanted_protocols(head.fields);
    if (!head.upgrade.empty()) head.is_upgrade = true;
  }
  if (head.is_connect() && head.content != Content::none)
    return make_error(Errc::protocol, "CONNECT with content");
  return {};
}

Result<> settle(ResponseHead& head, bool to_head, bool to_connect) {
  const auto framing = find_framing(head.fields, head.version);
  if (!framing) return framing.error();
  drop_repeated_length(head.fields);
  if (response_has_no_content(head.status, to_head, to_connect)) {
    head.content = Content::none;
    // Only to HEAD and with 304 a length says something (RFC 9110 8.6); elsewhere a lenient client would take
    // the next answer for this one's content.
    if (head.status < 200 || head.status == 204 || to_connect) head.fields.remove(Name::content_length);
  } else if (framing->length) {
    head.content = Content::sized;
    head.length = *framing->length;
  } else {
    head.content = Content::streamed;
  }
  if (head.version == Version::http2) return {};
  const ConnectionOptions options = connection_options(head.fields);
  if (options.count > max_connection_options) return make_error(Errc::protocol, "connection names too much");
  // Without a length the content ends with the connection (RFC 9112 6.3).
  head.wants_close = options.close || (head.version == Version::http1_0 && !options.keep_alive) ||
                     (head.content == Content::streamed && !framing->chunked);
  if (head.status == 101) {
    if (const auto chosen = head.fields.find(Name::upgrade)) head.upgrade = std::string(*chosen);
  } else if (head.status == 426) {
    head.upgrade = wanted_protocols(head.fields);
  }
  return {};
}

}  // namespace heddle::proxy::http
