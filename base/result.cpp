// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <stdexcept>

namespace heddle {
namespace {

class HeddleCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "heddle"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::invalid_argument:
        return "invalid argument";
      case Errc::not_found:
        return "not found";
      case Errc::already_exists:
        return "already exists";
      case Errc::unavailable:
        return "unavailable";
      case Errc::timeout:
        return "timed out";
      case Errc::permission_denied:
        return "permission denied";
      case Errc::unsupported:
        return "not supported here";
      case Errc::exhausted:
        return "limit reached";
      case Errc::protocol:
        return "protocol violation";
      case Errc::closed:
        return "closed";
      case Errc::internal:
        return "internal error";
    }
    return "unknown";
  }
};

const HeddleCategory category;

}  // namespace

boost::system::error_code make_error_code(Errc e) {
  return {static_cast<int>(e), category};
}

Error make_error(Errc e, std::string detail) {
  return {make_error_code(e), std::move(detail)};
}

Error make_errno(int errnum, std::string detail) {
  return {{errnum, boost::system::generic_category()}, std::move(detail)};
}

std::string Error::message() const {
  if (detail.empty()) return code.message();
  if (!code) return detail;
  return detail + ": " + code.message();
}

void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::runtime_error(error.message());
}

}  // namespace heddle
