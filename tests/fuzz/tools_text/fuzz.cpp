// SPDX-License-Identifier: Apache-2.0
// A line is a JSONPath template for the rest, a document; and all of it is text to be scrubbed of
// credentials.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tools/diagnostics/scrub.h"
#include "tools/output/jsonpath.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::tools;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  if (const auto path = JsonPath::parse(text.substr(0, line)); path && line != std::string_view::npos) {
    boost::system::error_code malformed;
    const auto document = boost::json::parse({text.data() + line + 1, text.size() - line - 1}, malformed);
    if (!malformed) static_cast<void>(path->apply(document));
  }
  // A private key never stays, whatever is before it.
  if (text.find("hunter2-hunter2") != std::string_view::npos) return 0;
  std::string with(text);
  with += "\n-----BEGIN PRIVATE KEY-----\nhunter2-hunter2\n-----END PRIVATE KEY-----\n";
  if (scrub_text(with).find("hunter2-hunter2") != std::string::npos) std::abort();
  return 0;
}
