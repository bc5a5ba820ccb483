// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/http/message.h"

namespace heddle::proxy::http {

// Did this response succeed, as Linkerd classifies: HTTP below 500; gRPC by its status, where UNKNOWN,
// DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE and DATA_LOSS are failures. `grpc_status` -1:
// not gRPC.
bool is_success(std::uint16_t status, std::int16_t grpc_status);
// Of a head or of trailers; -1 when there is none.
std::int16_t find_grpc_status(const Fields& fields);
// "http/1", "http/2" or "grpc".
const char* protocol_name(const RequestHead& head);

}  // namespace heddle::proxy::http
