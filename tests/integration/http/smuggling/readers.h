// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::proxy::smuggling {

// How servers that one meets read HTTP/1: the standard's way, and the ways in which known ones differ. What a
// proxy forwards must be the same to all of them. Not the product's parser: that is under test.
struct Dialect {
  const char* name;
  bool strict = false;
  bool bare_lf = false;             // LF alone ends a line
  bool bare_cr = false;             // so does CR alone
  bool last_length = false;         // of several Content-Length the last one counts, else the first
  bool length_over_chunks = false;  // Content-Length counts when there is Transfer-Encoding too
  bool any_chunked = false;         // Transfer-Encoding that has "chunked" anywhere
  bool loose_names = false;         // white space around names, '_' is '-'
  bool unfold = false;              // lines that begin with white space go on the one before
};
const std::vector<Dialect>& dialects();  // the strict one first

struct Message {
  std::string method, target, body;
  bool operator==(const Message&) const = default;
};
// "GET /c (5)"
std::string to_string(const Message& message);

struct Reading {
  std::vector<Message> messages;
  std::size_t used = 0;  // bytes of whole messages
  std::string error;     // a message that this dialect refuses follows
};
Reading read_requests(std::string_view raw, const Dialect& dialect);

struct Answer {
  int status = 0;
  std::string head, body;
};
// Strictly, with interim ones left out; the first is one to HEAD if so given. `error` when the bytes are no
// sequence of whole answers.
struct Answers {
  std::vector<Answer> answers;
  std::string error;
};
Answers read_answers(std::string_view raw, bool first_to_head, bool ended);

bool contains_ignoring_case(std::string_view text, std::string_view part);

}  // namespace heddle::proxy::smuggling
