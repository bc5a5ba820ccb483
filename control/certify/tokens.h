// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace heddle::control {

// Nodes' secrets in a folder: NODE.token holds the secret of NODE, white space around it ignored. A file is
// read for each check, so that replacing or removing one takes effect at once. Thread-safe.
class NodeTokens {
 public:
  // Empty: every token is refused.
  explicit NodeTokens(std::string folder) : folder_(std::move(folder)) {}

  // The node that "NODE:SECRET" proves to be. Compares in constant time and says the same of an unknown node
  // and of a wrong secret (Errc::permission_denied); the text never contains the token.
  Result<std::string> check(std::string_view token) const;

 private:
  std::string folder_;
};

}  // namespace heddle::control
