// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/http/smuggling/readers.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>

namespace heddle::proxy::smuggling {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string strip(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\v\f");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\v\f") - begin + 1));
}

// One message's way through the bytes. Throws what ends it: `More` when bytes are missing, `Refused`.
struct More {};
struct Refused {
  std::string why;
};

class Cursor {
 public:
  Cursor(std::string_view raw, const Dialect& dialect) : raw_(raw), dialect_(dialect) {}

  std::string line() {
    std::size_t end = 0;
    std::size_t next = 0;
    if (dialect_.bare_cr) {
      end = raw_.find_first_of("\r\n", at_);
      next = end == std::string_view::npos ? end : end + (raw_.substr(end, 2) == "\r\n" ? 2 : 1);
    } else if (dialect_.bare_lf) {
      end = raw_.find('\n', at_);
      next = end == std::string_view::npos ? end : end + 1;
      if (end != std::string_view::npos && end > at_ && raw_[end - 1] == '\r') --end;
    } else {
      end = raw_.find("\r\n", at_);
      next = end == std::string_view::npos ? end : end + 2;
    }
    if (end == std::string_view::npos) throw More{};
    const std::string_view found = raw_.substr(at_, end - at_);
    at_ = next;
    if (dialect_.strict) {
      for (const char c : found) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t') || byte == 0x7f) throw Refused{"control character in a line"};
      }
    }
    return std::string(found);
  }

  std::string take(std::size_t size) {
    if (raw_.size() - at_ < size) throw More{};
    at_ += size;
    return std::string(raw_.substr(at_ - size, size));
  }
  std::string rest() { return take(raw_.size() - at_); }
  bool empty() const { return at_ == raw_.size(); }
  std::size_t at() const { return at_; }

 private:
  std::string_view raw_;
  const Dialect& dialect_;
  std::size_t at_ = 0;
};

struct Framing {
  std::vector<std::string> lengths, codings;
  std::string text;
};

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

void add_field(Framing& into, std::string name, const std::string& value, const Dialect& dialect) {
  if (dialect.loose_names) {
    name = strip(name);
    std::replace(name.begin(), name.end(), '_', '-');
  }
  name = lower(name);
  if (name == "content-length") into.lengths.push_back(strip(value));
  if (name == "transfer-encoding") into.codings.push_back(lower(strip(value)));
}

Framing read_fields(Cursor& from, const Dialect& dialect) {
  Framing framing;
  std::string name, value;
  const auto flush = [&] {
    if (!name.empty()) add_field(framing, name, value, dialect);
    name.clear();
  };
  while (true) {
    const std::string line = from.line();
    framing.text += line + "\r\n";
    if (line.empty()) break;
    if (line[0] == ' ' || line[0] == '\t') {
      if (dialect.strict) throw Refused{"folded line"};
      if (dialect.unfold) value += " " + strip(line);
      continue;
    }
    flush();
    const std::size_t colon = line.find(':');
    if (dialect.strict && (colon == std::string::npos || !is_name(line.substr(0, colon))))
      throw Refused{"invalid field name"};
    if (colon == std::string::npos) continue;
    name = line.substr(0, colon);
    value = line.substr(colon + 1);
  }
  flush();
  return framing;
}

std::size_t number(const std::string& text, int base, bool strict) {
  const std::string digits = base == 10 ? "0123456789" : "0123456789abcdefABCDEF";
  if (strict && (text.empty() || text.find_first_not_of(digits) != std::string::npos))
    throw Refused{"no number: " + text};
  return std::strtoull(text.c_str(), nullptr, base);
}

std::string read_chunks(Cursor& from, const Dialect& dialect) {
  std::string body;
  while (true) {
    std::string line = from.line();
    line = line.substr(0, line.find(';'));
    const std::size_t size = number(line, 16, dialect.strict);
    if (size == 0) break;
    body += from.take(size);
    if (!from.line().empty()) throw Refused{"no line end after a chunk"};
  }
  (void)read_fields(from, dialect);
  return body;
}

std::optional<bool> chunked(const Framing& framing, const Dialect& dialect) {
  if (framing.codings.empty()) return false;
  if (dialect.strict &&
      (framing.codings.size() != 1 || framing.codings[0] != "chunked" || !framing.lengths.empty()))
    throw Refused{"transfer-encoding " + framing.codings[0]};
  if (dialect.length_over_chunks && !framing.lengths.empty()) return false;
  return std::any_of(framing.codings.begin(), framing.codings.end(), [&](const std::string& each) {
    return dialect.any_chunked ? each.find("chunked") != std::string::npos : each == "chunked";
  });
}

std::optional<std::size_t> length(const Framing& framing, const Dialect& dialect) {
  if (framing.lengths.empty()) return std::nullopt;
  if (dialect.strict && framing.lengths.size() != 1) throw Refused{"content-length twice"};
  return number(dialect.last_length ? framing.lengths.back() : framing.lengths.front(), 10, dialect.strict);
}

Message read_request(Cursor& from, const Dialect& dialect) {
  const std::string line = from.line();
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  const std::string version = last == std::string::npos ? "" : line.substr(last + 1);
  if (first == std::string::npos || (version != "HTTP/1.1" && version != "HTTP/1.0") || first == last)
    throw Refused{"request line '" + line + "'"};
  Message message{line.substr(0, first), line.substr(first + 1, last - first - 1), ""};
  if (dialect.strict && message.target.find_first_of(" \t") != std::string::npos) throw Refused{"target"};
  const Framing framing = read_fields(from, dialect);
  if (*chunked(framing, dialect)) {
    message.body = read_chunks(from, dialect);
  } else {
    message.body = from.take(length(framing, dialect).value_or(0));
  }
  return message;
}

}  // namespace

const std::vector<Dialect>& dialects() {
  static const std::vector<Dialect> all = {
      {.name = "strict", .strict = true},
      {.name = "usual"},
      {.name = "last length", .last_length = true},
      {.name = "length before chunks", .length_over_chunks = true},
      {.name = "anything with chunked", .any_chunked = true, .loose_names = true},
      {.name = "lone LF", .bare_lf = true, .loose_names = true, .unfold = true},
      {.name = "lone CR", .bare_cr = true},
  };
  return all;
}

std::string to_string(const Message& message) {
  return message.method + " " + message.target + " (" + std::to_string(message.body.size()) + ")";
}

Reading read_requests(std::string_view raw, const Dialect& dialect) {
  Reading reading;
  while (reading.used < raw.size()) {
    Cursor cursor(raw.substr(reading.used), dialect);
    try {
      reading.messages.push_back(read_request(cursor, dialect));
    } catch (const More&) {
      break;
    } catch (const Refused& refused) {
      reading.error = refused.why;
      break;
    }
    reading.used += cursor.at();
  }
  return reading;
}

Answers read_answers(std::string_view raw, bool first_to_head, bool ended) {
  static const Dialect& strict = dialects().front();
  Answers read;
  Cursor cursor(raw, strict);
  try {
    while (!cursor.empty()) {
      const std::string line = cursor.line();
      Answer answer;
      if (line.size() < 12 || !line.starts_with("HTTP/1.")) throw Refused{"status line '" + line + "'"};
      answer.status = std::atoi(line.c_str() + 9);
      const Framing framing = read_fields(cursor, strict);
      answer.head = line + "\r\n" + framing.text;
      if (answer.status < 200 && answer.status != 101) continue;
      const bool to_head = first_to_head && read.answers.empty();
      const bool bodyless = to_head || answer.status == 204 || answer.status == 304 || answer.status == 101;
      if (bodyless) {
        (void)0;
      } else if (*chunked(framing, strict)) {
        answer.body = read_chunks(cursor, strict);
      } else if (const auto size = length(framing, strict)) {
        answer.body = cursor.take(*size);
      } else if (ended) {
        answer.body = cursor.rest();
      }
      read.answers.push_back(std::move(answer));
    }
  } catch (const More&) {
    read.error = "an answer is not whole";
  } catch (const Refused& refused) {
    read.error = refused.why;
  }
  return read;
}

bool contains_ignoring_case(std::string_view text, std::string_view part) {
  return lower(text).find(lower(part)) != std::string::npos;
}

}  // namespace heddle::proxy::smuggling
