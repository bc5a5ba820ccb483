// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "proxy/http/message.h"

namespace heddle::proxy::http {

// HTTP/1 on the wire (RFC 9112), pure. Our own reader and not llhttp: Debian 12's llhttp 8.1 refuses methods
// it does not list (a proxy must forward any) and lets obs-fold through; and a whole head cut out of one copy
// of its bytes costs two allocations. tests/fuzz/http1 holds it against llhttp.

// Bytes up to and with the empty line that ends a head, or 0 while it is not there. `seen`: how many bytes of
// `text` an earlier call looked at in vain. A lone LF never ends a line.
std::size_t find_head_end(std::string_view text, std::size_t seen = 0);
// Is there an LF without CR before it, behind the first `seen` bytes? It ends no line here, but does for
// others: a head that waits for its end then waits in vain.
bool has_lone_lf(std::string_view text, std::size_t seen = 0);
// Empty lines before a request line are skipped (RFC 9112 2.2).
std::size_t leading_empty_lines(std::string_view text);

// `text` ends with the empty line. The head keeps a copy. Not settle()d.
Result<> parse_request_head(std::string_view text, RequestHead& into);
Result<> parse_response_head(std::string_view text, ResponseHead& into);

// Takes content out of a byte stream. Holds memory only while a chunk-size line or trailers arrive in pieces.
class ContentReader {
 public:
  enum class Kind : std::uint8_t { none, sized, chunked, until_close };
  void begin(Kind kind, std::uint64_t length = 0);
  // What a prefix of `input` turned out to be: `used` bytes of framing and content, `data` the content in
  // them.
  struct Step {
    std::size_t used = 0;
    std::string_view data;
    const char* error = nullptr;
  };
  // Call until it uses nothing or done(). Never uses bytes after the end.
  Step next(std::string_view input);
  bool done() const { return state_ == State::done; }
  bool until_close() const { return state_ == State::until_close; }
  // The connection ended here: complete only when the content was to last until then.
  bool finish();
  Fields take_trailers() { return std::move(trailers_); }
  bool has_trailers() const { return !trailers_.empty(); }

 private:
  enum class State : std::uint8_t { done, sized, until_close, chunk_size, chunk_data, chunk_end, trailers };
  Step read_size_line(std::string_view input);
  Step read_trailers(std::string_view input);

  State state_ = State::done;
  std::uint64_t left_ = 0;
  std::uint64_t overhead_ = 0;  // of chunk-size lines beyond what their content makes up for
  std::string line_;
  Fields trailers_;
};

enum class Framing1 : std::uint8_t { as_is, chunked, until_close, empty };

// Head as sent on an HTTP/1 connection. `connection`: the value of the Connection field, empty for none.
void write_request_head(std::string& out, const RequestHead& head, Framing1 framing,
                        std::string_view connection);
void write_response_head(std::string& out, const ResponseHead& head, Version to, Framing1 framing,
                         std::string_view connection);
void write_chunk_begin(std::string& out, std::size_t size);
void write_last_chunk(std::string& out, const Fields* trailers);

}  // namespace heddle::proxy::http
