// SPDX-License-Identifier: Apache-2.0
#include "tools/output/jsonpath_stream.h"

namespace heddle::tools {

namespace json = boost::json;

Result<> JsonPathStream::finish() {
  if (!error_ && begun_)
    error_ = make_error(Errc::protocol, "jsonpath: the output ended inside of a document");
  return error_ ? Result<>(*error_) : Result<>();
}

JsonPathStream::int_type JsonPathStream::overflow(int_type c) {
  if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
  const char byte = traits_type::to_char_type(c);
  return take(&byte, 1) ? c : traits_type::eof();
}

std::streamsize JsonPathStream::xsputn(const char* text, std::streamsize size) {
  return take(text, static_cast<std::size_t>(size)) ? size : 0;
}

bool JsonPathStream::take(const char* text, std::size_t size) {
  while (size > 0 && !error_) {
    if (!begun_ && (*text == ' ' || *text == '\n' || *text == '\t' || *text == '\r')) {
      ++text;
      --size;
      continue;
    }
    if (!begun_ && *text != '{' && *text != '[') {
      error_ = make_error(Errc::unsupported, "jsonpath: this command prints no JSON");
      break;
    }
    begun_ = true;
    boost::system::error_code malformed;
    const auto used = parser_.write_some(text, size, malformed);
    if (malformed) {
      error_ = make_error(Errc::protocol, "jsonpath: the command printed no JSON: " + malformed.message());
      break;
    }
    text += used;
    size -= used;
    if (!parser_.done()) continue;
    begun_ = false;
    if (!print(parser_.release())) break;
    parser_.reset();
  }
  return !error_;
}

bool JsonPathStream::print(const json::value& document) {
  auto text = path_.apply(document);
  if (!text) {
    error_ = text.error();
    return false;
  }
  if (!text->empty() && !text->ends_with('\n')) *text += '\n';
  to_.sputn(text->data(), static_cast<std::streamsize>(text->size()));
  return true;
}

}  // namespace heddle::tools
