// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include <string_view>
#include <vector>

#include "proxy/http/message.h"

namespace heddle::proxy::http {

// Between our heads and nghttp2's name/value pairs (RFC 9113 8). Included by the HTTP/2 codecs' .cpp files
// only.

nghttp2_nv make_nv(std::string_view name, std::string_view value);

// The pairs point into the head and into a buffer of the thread's: use them before the next call. HTTP/1's
// Host becomes :authority. `orig_proto`: value of l5d-orig-proto to add, or empty.
const std::vector<nghttp2_nv>& to_nva(const RequestHead& head, std::string_view orig_proto);
const std::vector<nghttp2_nv>& to_nva(const ResponseHead& head);
const std::vector<nghttp2_nv>& to_nva(const Fields& trailers);

}  // namespace heddle::proxy::http
