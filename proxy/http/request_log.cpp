// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/request_log.h"

#include <charconv>

namespace heddle::proxy::http {

bool is_success(std::uint16_t status, std::int16_t grpc_status) {
  switch (grpc_status) {
    case -1:
      return status != 0 && status < 500;
    case 2:
    case 4:
    case 7:
    case 13:
    case 14:
    case 15:
      return false;
    default:
      return status < 500;
  }
}

std::int16_t find_grpc_status(const Fields& fields) {
  const auto text = fields.find(Name::grpc_status);
  if (!text) return -1;
  std::int16_t status = -1;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), status);
  return error == std::errc{} && end == text->data() + text->size() && status >= 0 && status <= 16 ? status
                                                                                                   : 2;
}

const char* protocol_name(const RequestHead& head) {
  if (head.version != Version::http2) return "http/1";
  return head.is_grpc() ? "grpc" : "http/2";
}

}  // namespace heddle::proxy::http
