// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace heddle {

// Why an operation failed: a code to branch and count on, and a sentence for the person who reads the log.
// The sentence names the object (path, pod, address) and, where there is one, the operator's next step.
struct Error {
  boost::system::error_code code;
  std::string detail;

  // "detail: text of the code", or whichever of the two exists.
  std::string message() const;
};

// Conditions that no errno describes. Their names are stable: metrics and tests use them.
enum class Errc {
  invalid_argument = 1,  // the caller or the peer sent something malformed
  not_found,
  already_exists,
  unavailable,  // a peer process is away; retrying later may work
  timeout,
  permission_denied,
  unsupported,  // this kernel or build cannot do it
  exhausted,    // a configured limit was reached
  protocol,     // a peer broke the protocol
  closed,       // the peer or the owner ended the conversation
  internal,     // a bug: an invariant does not hold
};
boost::system::error_code make_error_code(Errc e);

Error make_error(Errc e, std::string detail = {});
// From errno (or any positive errno value); `detail` says what was being done to what.
Error make_errno(int errnum, std::string detail = {});

// A value or an Error. Unlike boost::system::result, ignoring one is a compile error (with -Werror).
template <class T = void>
class [[nodiscard]] Result : public boost::system::result<T, Error> {
 public:
  using boost::system::result<T, Error>::result;
};

// Called by Result::value() on an error; only start-up code and tests call value() unchecked.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& where);

}  // namespace heddle

template <>
struct boost::system::is_error_code_enum<heddle::Errc> : std::true_type {};
