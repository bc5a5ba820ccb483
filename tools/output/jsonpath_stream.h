// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <streambuf>
#include <string>

#include "tools/output/jsonpath.h"

namespace heddle::tools {

// Takes JSON documents one after another, as commands print them, and writes what the template makes of each,
// ended by a line break. One thread at a time.
class JsonPathStream : public std::streambuf {
 public:
  // `to` outlives this.
  JsonPathStream(JsonPath path, std::streambuf& to) : path_(std::move(path)), to_(to) {}

  // After the last byte. Errors: what came was no JSON, or the template does not fit it.
  Result<> finish();

 protected:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* text, std::streamsize size) override;
  int sync() override { return to_.pubsync(); }

 private:
  bool take(const char* text, std::size_t size);
  bool print(const boost::json::value& document);

  JsonPath path_;
  std::streambuf& to_;
  boost::json::stream_parser parser_;
  bool begun_ = false;  // a document
  std::optional<Error> error_;
};

}  // namespace heddle::tools
