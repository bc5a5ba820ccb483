// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/source/document.h"
#include "control/source/snapshot.h"

namespace heddle::source {

enum class Format { yaml, json };

// Adds the objects of one document to `objects`; lists are expanded, unknown kinds and fields are ignored.
// Errors begin with the line and name the field: "12: Service shop/web: spec.ports[0].port: ...".
Result<> decode(const Value& document, Objects& objects);

// All objects of one file's text.
Result<Objects> parse_objects(std::string_view text, Format format, const Limits& limits = {});

}  // namespace heddle::source
