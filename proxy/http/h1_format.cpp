// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h1_format.h"

#include <charconv>

#include "proxy/http/strict.h"

namespace heddle::proxy::http {
namespace {

constexpr std::string_view crlf = "\r\n";
constexpr std::size_t max_chunk_line = 4096;
// Chunk-size lines beyond 16 bytes and twice their content: extensions that cost much and carry nothing.
constexpr std::uint64_t max_chunk_overhead = 16 * 1024;
constexpr std::size_t room_for_own = 128;  // l5d-client-id and the like

bool is_target(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) return false;
  }
  return !text.empty();
}

// "HTTP/" DIGIT "." DIGIT, of a version that may not be ours.
bool is_version(std::string_view text) {
  const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
  return text.size() == 8 && text.starts_with("HTTP/") && digit(5) && text[6] == '.' && digit(7);
}

std::optional<Version> parse_version(std::string_view text) {
  if (text == "HTTP/1.1") return Version::http1_1;
  if (text == "HTTP/1.0") return Version::http1_0;
  return std::nullopt;
}

Slice slice_of(std::string_view whole, std::string_view part) {
  return {static_cast<std::uint32_t>(part.data() - whole.data()), static_cast<std::uint32_t>(part.size())};
}

// Cuts the field lines in fields.text()[begin..) which ends with an empty line.
Result<> parse_fields(Fields& fields, std::size_t begin) {
  const std::string_view whole = fields.text();
  std::string_view rest = whole.substr(begin);
  while (true) {
    const std::size_t end = rest.find(crlf);
    if (end == std::string_view::npos) return make_error(Errc::protocol, "field line without end");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    if (line.empty()) break;
    const std::size_t colon = line.find(':');
    // A line that begins with white space (obs-fold) fails here as well: white space is no token.
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
      return make_error(Errc::protocol, "field line without a valid name");
    const std::string_view value = trim(line.substr(colon + 1));
    if (!is_field_value(value)) return make_error(Errc::protocol, "control character in a field");
    if (fields.size() == max_fields) return make_error(Errc::exhausted, "more than 256 fields");
    fields.add_slices(slice_of(whole, line.substr(0, colon)), slice_of(whole, value));
  }
  if (!rest.empty()) return make_error(Errc::internal, "bytes after the head");
  return {};
}

void write_fields(std::string& out, const Fields& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    out.append(fields.name(i)).append(": ").append(fields.value(i)).append(crlf);
  }
}

void write_framing(std::string& out, Framing1 framing) {
  if (framing == Framing1::chunked) out.append("transfer-encoding: chunked\r\n");
  if (framing == Framing1::empty) out.append("content-length: 0\r\n");
}

}  // namespace

std::size_t find_head_end(std::string_view text, std::size_t seen) {
  const std::size_t from = seen > 3 ? seen - 3 : 0;
  const std::size_t at = text.find("\r\n\r\n", from);
  return at == std::string_view::npos ? 0 : at + 4;
}

bool has_lone_lf(std::string_view text, std::size_t seen) {
  for (std::size_t at = text.find('\n', seen); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return true;
  }
  return false;
}

std::size_t leading_empty_lines(std::string_view text) {
  std::size_t skipped = 0;
  while (text.substr(skipped, 2) == crlf) skipped += 2;
  return skipped;
}

Result<> parse_request_head(std::string_view text, RequestHead& into) {
  into.clear();
  into.fields.text().reserve(text.size() + room_for_own);
  into.fields.text().assign(text);
  const std::string_view whole = into.fields.text();
  const std::size_t end = whole.find(crlf);
  const std::string_view line = whole.substr(0, end);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (end == std::string_view::npos || first == std::string_view::npos || first == last)
    return make_error(Errc::protocol, "malformed request line");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_token(method) || !is_target(target) || !is_version(line.substr(last + 1)))
    return make_error(Errc::protocol, "malformed request line");
  const auto version = parse_version(line.substr(last + 1));
  if (!version) return make_error(Errc::unsupported, "HTTP version is not 1.0 or 1.1");
  into.version = *version;
  into.method_ = slice_of(whole, method);
  into.target_ = slice_of(whole, target);
  return parse_fields(into.fields, end + 2);
}

Result<> parse_response_head(std::string_view text, ResponseHead& into) {
  into.clear();
  into.fields.text().reserve(text.size() + room_for_own);
  into.fields.text().assign(text);
  const std::string_view whole = into.fields.text();
  const std::size_t end = whole.find(crlf);
  const std::string_view line = whole.substr(0, end);
  // "HTTP/1.1 200 reason"; the reason may be missing, and with it its space.
  if (end == std::string_view::npos || line.size() < 12 || line[8] != ' ' ||
      (line.size() > 12 && line[12] != ' '))
    return make_error(Errc::protocol, "malformed status line");
  const auto version = parse_version(line.substr(0, 8));
  if (!version) return make_error(Errc::unsupported, "HTTP version is not 1.0 or 1.1");
  std::uint16_t status = 0;
  const auto [stop, error] = std::from_chars(line.data() + 9, line.data() + 12, status);
  if (error != std::errc{} || stop != line.data() + 12 || status < 100)
    return make_error(Errc::protocol, "malformed status code");
  const std::string_view reason = line.size() > 13 ? line.substr(13) : std::string_view{};
  if (!is_field_value(reason)) return make_error(Errc::protocol, "control character in the reason");
  into.version = *version;
  into.status = status;
  into.reason_ = slice_of(whole, reason.empty() ? whole.substr(0, 0) : reason);
  return parse_fields(into.fields, end + 2);
}

void ContentReader::begin(Kind kind, std::uint64_t length) {
  trailers_ = {};
  left_ = length;
  overhead_ = 0;
  switch (kind) {
    case Kind::none:
      state_ = State::done;
      break;
    case Kind::sized:
      state_ = length == 0 ? State::done : State::sized;
      break;
    case Kind::chunked:
      state_ = State::chunk_size;
      break;
    case Kind::until_close:
      state_ = State::until_close;
      break;
  }
}

bool ContentReader::finish() {
  if (state_ == State::until_close) state_ = State::done;
  return state_ == State::done;
}

ContentReader::Step ContentReader::next(std::string_view input) {
  if (input.empty()) return {};
  switch (state_) {
    case State::done:
      return {};
    case State::until_close:
      return {input.size(), input};
    case State::sized:
    case State::chunk_data: {
      const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
      left_ -= size;
      if (left_ == 0) state_ = state_ == State::sized ? State::done : State::chunk_end;
      return {size, input.substr(0, size)};
    }
    case State::chunk_end: {
      const std::size_t want = 2 - line_.size();
      const std::size_t size = std::min(want, input.size());
      line_.append(input.substr(0, size));
      if (line_ != crlf.substr(0, line_.size())) return {0, {}, "no CRLF after a chunk"};
      if (line_.size() == 2) {
        line_.clear();
        state_ = State::chunk_size;
      }
      return {size, {}};
    }
    case State::chunk_size:
      return read_size_line(input);
    case State::trailers:
      return read_trailers(input);
  }
  return {};
}

ContentReader::Step ContentReader::read_size_line(std::string_view input) {
  const std::size_t lf = input.find('\n');
  const std::size_t used = lf == std::string_view::npos ? input.size() : lf + 1;
  if (line_.size() + used > max_chunk_line) return {0, {}, "chunk-size line too long"};
  std::string_view line = input.substr(0, used);
  if (!line_.empty() || lf == std::string_view::npos) {
    line_.append(line);
    line = line_;
  }
  if (lf == std::string_view::npos) return {used, {}};
  if (!line.ends_with(crlf)) return {0, {}, "chunk-size line ends without CRLF"};
  line.remove_suffix(2);
  std::uint64_t size = 0;
  const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
  const std::string_view extension = line.substr(static_cast<std::size_t>(stop - line.data()));
  if (error != std::errc{} || size > (std::uint64_t{1} << 62)) return {0, {}, "malformed chunk size"};
  if (!extension.empty() &&
      (trim(extension).empty() || !is_field_value(extension) || !is_chunk_extension(extension)))
    return {0, {}, "malformed chunk extension"};
  const std::uint64_t fair = 16 + 2 * size;
  overhead_ = line.size() > fair ? overhead_ + (line.size() - fair)
                                 : overhead_ - std::min(overhead_, fair - line.size());
  if (overhead_ > max_chunk_overhead) return {0, {}, "chunk extensions out of proportion"};
  line_ = {};
  left_ = size;
  state_ = size == 0 ? State::trailers : State::chunk_data;
  return {used, {}};
}

ContentReader::Step ContentReader::read_trailers(std::string_view input) {
  // Mostly just the final CRLF, in one piece.
  if (line_.empty() && input.starts_with(crlf)) {
    state_ = State::done;
    return {2, {}};
  }
  const std::size_t before = line_.size();
  const std::size_t room = max_trailer_bytes - before;
  line_.append(input.substr(0, room));
  std::size_t end = line_.starts_with(crlf) ? 2 : find_head_end(line_, before);
  if (end == 0) {
    if (line_.size() == max_trailer_bytes) return {0, {}, "trailers too long"};
    return {input.size(), {}};
  }
  line_.resize(end);
  state_ = State::done;
  if (end > 2) {
    trailers_.text() = std::move(line_);
    if (!parse_fields(trailers_, 0)) return {0, {}, "malformed trailers"};
    settle_trailers(trailers_);
  }
  line_ = {};
  return {end - before, {}};
}

void write_request_head(std::string& out, const RequestHead& head, Framing1 framing,
                        std::string_view connection) {
  // What names the target is the first of these; Host only repeats it (RFC 9112 3.2.2).
  const bool named_before = head.version == Version::http2 || head.absolute_form;
  out.append(head.method()).append(" ").append(head.target());
  out.append(head.version == Version::http1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  if (named_before || !head.fields.find(Name::host)) {
    if (!head.authority().empty()) {
      out.append("host: ").append(head.authority()).append(crlf);
      for (std::size_t i = 0; i < head.fields.size(); ++i) {
        if (head.fields.id(i) == Name::host) continue;
        out.append(head.fields.name(i)).append(": ").append(head.fields.value(i)).append(crlf);
      }
    } else {
      write_fields(out, head.fields);
    }
  } else {
    write_fields(out, head.fields);
  }
  if (!connection.empty()) out.append("connection: ").append(connection).append(crlf);
  if (!head.upgrade.empty()) out.append("upgrade: ").append(head.upgrade).append(crlf);
  write_framing(out, framing);
  out.append(crlf);
}

void write_response_head(std::string& out, const ResponseHead& head, Version to, Framing1 framing,
                         std::string_view connection) {
  out.append(to == Version::http1_0 ? "HTTP/1.0 " : "HTTP/1.1 ");
  char digits[8];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, head.status);
  out.append(digits, static_cast<std::size_t>(end - digits)).append(" ");
  out.append(head.reason_.size != 0 ? head.reason() : std::string_view(reason_phrase(head.status)))
      .append(crlf);
  write_fields(out, head.fields);
  if (!connection.empty()) out.append("connection: ").append(connection).append(crlf);
  if (!head.upgrade.empty()) out.append("upgrade: ").append(head.upgrade).append(crlf);
  write_framing(out, framing);
  out.append(crlf);
}

void write_chunk_begin(std::string& out, std::size_t size) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, size, 16);
  out.append(digits, static_cast<std::size_t>(end - digits)).append(crlf);
}

void write_last_chunk(std::string& out, const Fields* trailers) {
  out.append("0\r\n");
  if (trailers != nullptr) write_fields(out, *trailers);
  out.append(crlf);
}

}  // namespace heddle::proxy::http
