// SPDX-License-Identifier: Apache-2.0
#include "tools/output/error_text.h"

#include <cstdio>

#include "tools/commands/command.h"

namespace heddle::tools {

std::string error_text(const Error& error) {
  const bool ours = error.code.category() == make_error_code(Errc::internal).category();
  return ours && !error.detail.empty() ? error.detail : error.message();
}

int report(const Error& error) {
  std::fprintf(stderr, "heddle: %s\n", error_text(error).c_str());
  return 1;
}

}  // namespace heddle::tools
