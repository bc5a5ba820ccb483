// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/orig_proto.h"

#include <string>

namespace heddle::proxy::http {

void restore_orig_proto(RequestHead& head, std::string_view value) {
  if (head.version != Version::http2) return;
  const std::size_t semicolon = value.find(';');
  const std::string_view version = trim(value.substr(0, semicolon));
  if (version == "HTTP/1.1") {
    head.version = Version::http1_1;
  } else if (version == "HTTP/1.0") {
    // HTTP/1.0 has no chunks to send content of unknown length in.
    head.version = head.content == Content::streamed ? Version::http1_1 : Version::http1_0;
  } else {
    return;
  }
  // HTTP/1.1 must have a Host (RFC 9112 3.2), also towards an absolute target.
  const std::string authority(head.authority());
  if (semicolon != std::string_view::npos && trim(value.substr(semicolon + 1)) == "absolute-form") {
    std::string target = std::string(head.scheme()) + "://" + authority;
    if (head.target() != "*") target += head.target();  // OPTIONS of the whole server
    head.set_target(target);
    head.absolute_form = true;
  }
}

}  // namespace heddle::proxy::http
