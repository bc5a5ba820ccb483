// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::proxy::http {

// Heads and trailers of HTTP messages, whatever their wire. Pure.

enum class Version : std::uint8_t { http1_0, http1_1, http2 };
const char* to_string(Version version);  // "HTTP/1.1"

// Bounds on what a peer may send before it is refused (431 or 400).
constexpr std::size_t max_head_bytes = 64 * 1024;
constexpr std::size_t max_fields = 256;
constexpr std::size_t max_trailer_bytes = 16 * 1024;
constexpr std::size_t max_connection_options = 64;  // members of Connection

// Fields the proxy itself acts on, recognised once when a field is added.
enum class Name : std::uint8_t {
  other,
  connection,
  keep_alive,
  proxy_connection,
  transfer_encoding,
  te,
  upgrade,
  http2_settings,
  content_length,
  host,
  expect,
  content_type,
  grpc_status,
  l5d_client_id,
  l5d_orig_proto,
  l5d_proxy_error,
  mesh,  // any other l5d-* and heddle-*: between proxies only. What others may take for one too
         // (is_mesh_name)
};
Name recognise(std::string_view name);

bool equal_ignoring_case(std::string_view a, std::string_view b);
bool is_token(std::string_view text);          // RFC 9110 5.6.2
bool is_field_value(std::string_view text);    // RFC 9110 5.5, no control characters
std::string_view trim(std::string_view text);  // optional white space off both ends

// Where a string is within a text buffer that may move.
struct Slice {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

// A list of fields in wire order: one text buffer and one entry per field, two allocations in all. Names keep
// the case they came in; looking up ignores it.
class Fields {
 public:
  struct Field {
    Slice name, value;
    Name id = Name::other;
  };

  // `name` and `value` must be valid (is_token, is_field_value).
  void add(std::string_view name, std::string_view value);
  std::size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  Name id(std::size_t i) const { return fields_[i].id; }
  std::string_view name(std::size_t i) const { return view(fields_[i].name); }
  std::string_view value(std::size_t i) const { return view(fields_[i].value); }
  // The first one's value.
  std::optional<std::string_view> find(Name id) const;
  std::optional<std::string_view> find(std::string_view name) const;
  void remove(Name id);
  void remove(std::string_view name);
  template <class Predicate>
  void remove_if(Predicate predicate) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (!predicate(i)) fields_[kept++] = fields_[i];
    }
    fields_.resize(kept);
  }
  // Empties it; capacity stays for the next message.
  void clear() {
    text_.clear();
    fields_.clear();
  }
  // Bytes of names and values: what a bound is checked against.
  std::size_t text_size() const { return text_.size(); }

  // For parsers: the text they cut the fields out of.
  std::string& text() { return text_; }
  void add_slices(Slice name, Slice value);
  std::string_view view(Slice slice) const {
    return std::string_view(text_).substr(slice.offset, slice.size);
  }
  Slice keep(std::string_view text);  // appends to the text

 private:
  std::string text_;
  std::vector<Field> fields_;
};

// How long a message's content is, as its head says.
enum class Content : std::uint8_t { none, sized, streamed };

struct RequestHead {
  Fields fields;  // `host` is a field for HTTP/1 and `authority_` for HTTP/2
  Version version = Version::http1_1;
  Content content = Content::none;
  std::uint64_t length = 0;     // with sized
  bool wants_close = false;     // HTTP/1: the client closes after this one
  bool wants_continue = false;  // `expect: 100-continue`
  bool is_upgrade = false;     // HTTP/1 with `connection: upgrade`, or CONNECT: needs a connection of its own
  bool absolute_form = false;  // HTTP/1 target "http://host/path"
  std::string upgrade;         // the wanted protocols; only with is_upgrade

  std::string_view method() const { return fields.view(method_); }
  std::string_view target() const { return fields.view(target_); }  // as sent; ":path" of HTTP/2
  // Of the target, of ":authority", or of Host.
  std::string_view authority() const;
  // Of the target or of ":scheme", else "http".
  std::string_view scheme() const;
  // What a server sees as the path: the target without scheme and authority.
  std::string_view path() const;
  bool is_head() const { return method() == "HEAD"; }
  bool is_connect() const { return method() == "CONNECT"; }
  // RFC 9110 9.2.2.
  bool is_idempotent() const;
  bool is_grpc() const;
  void clear();

  void set_method(std::string_view text) { method_ = fields.keep(text); }
  void set_target(std::string_view text) { target_ = fields.keep(text); }
  void set_scheme(std::string_view text) { scheme_ = fields.keep(text); }
  void set_authority(std::string_view text) { authority_ = fields.keep(text); }

  Slice method_, target_, scheme_, authority_;
};

struct ResponseHead {
  Fields fields;
  Version version = Version::http1_1;
  Content content = Content::none;
  std::uint64_t length = 0;
  std::uint16_t status = 0;
  bool wants_close = false;
  std::string upgrade;  // with 101; with 426 what the server wants (RFC 9110 15.5.22)

  std::string_view reason() const { return fields.view(reason_); }
  void clear();

  Slice reason_;
};

// RFC 9110 6.4.1: this response has no content, whatever its fields say.
bool response_has_no_content(std::uint16_t status, bool to_head, bool to_connect);
const char* reason_phrase(std::uint16_t status);

// Removes what belongs to one connection only (RFC 9110 7.6.1): Connection and what it names, Keep-Alive,
// Proxy-Connection, Transfer-Encoding, Upgrade, HTTP2-Settings, TE but for "trailers", which all hops pass
// on. Never Host, Content-Length and the mesh's own fields, which Connection must not be able to take away.
void strip_hop_by_hop(Fields& fields);

// Removes the fields only proxies may set: l5d-client-id, other l5d-*, heddle-*. At each edge, before the
// proxy adds its own.
void strip_mesh_fields(Fields& fields);

// Removes what must not come after the content (RFC 9110 6.5.1): framing, routing, credentials, what changes
// how a request is handled, what belongs to one connection, and the mesh's own.
void settle_trailers(Fields& trailers);

// HTTP/2 may cut Cookie into several fields; HTTP/1 knows one only (RFC 9113 8.2.3).
void join_cookies(Fields& fields);

// An answer of the proxy itself with `l5d-proxy-error`. For gRPC a trailers-only answer: status 200 with
// grpc-status and grpc-message. Ends with the head; HTTP/1 gets `content-length: 0`.
ResponseHead make_error_response(std::uint16_t status, std::string_view reason, bool grpc);

// "0".."18446744073709551615", digits only.
std::optional<std::uint64_t> parse_content_length(std::string_view text);

// Settles a request's content from its fields after parsing or receiving it; refuses what could be read in
// two ways.
Result<> settle(RequestHead& head);
Result<> settle(ResponseHead& head, bool to_head, bool to_connect);

}  // namespace heddle::proxy::http
