// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace heddle::proxy::http {

// What a proxy must look at more closely than a server, because somebody behind it may read it differently.
// Pure.

// host [":" port] (RFC 3986 3.2.2, RFC 9110 4.2): no user information, no list, nothing that could be a path.
// A port is digits up to 65535; it may be empty unless `port_needed`.
bool is_authority(std::string_view text, bool port_needed = false);
// The same host and port, ports 80 and 443 being as good as none.
bool same_authority(std::string_view a, std::string_view b);

// Is it the mesh's own (l5d-*, heddle-*), also to readers that take other punctuation for "-", as CGI does?
bool is_mesh_name(std::string_view name);
// A name that is not Content-Length or Transfer-Encoding, but is taken for it where "_" is as good as "-".
bool resembles_framing(std::string_view name);

// What may stand behind a chunk's size (RFC 9112 7.1.1), quoted strings closed.
bool is_chunk_extension(std::string_view text);

// The protocols that Upgrade offers, without HTTP itself: a switch to HTTP/2 would be a way around everything
// a proxy does to requests (RFC 9113 3.1 has given it up).
std::string without_http(std::string_view upgrade);

}  // namespace heddle::proxy::http
