// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "proxy/http/message.h"

namespace heddle::proxy::http {

// Between mesh proxies HTTP/1 requests travel as HTTP/2 with `l5d-orig-proto: HTTP/1.1[; absolute-form]`;
// this makes them what they were, for the app. Anything else as value changes nothing.
void restore_orig_proto(RequestHead& head, std::string_view value);

}  // namespace heddle::proxy::http
