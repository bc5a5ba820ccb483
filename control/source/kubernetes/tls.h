// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/ssl/context.hpp>

#include <string>

#include "base/result.h"
#include "control/source/kubernetes/access.h"

// What a connection to the API server takes from Access: files are read here, at each call.
namespace heddle::source::kubernetes {

// TLS 1.2 or later, with the authority and the client certificate. Errors name the file.
Result<boost::asio::ssl::context> make_tls_context(const Access& access);

// Sets what the server's certificate must say, before the handshake.
Result<> expect_server(SSL* tls, const Access& access);

// After a failed handshake: why the server's certificate was refused; empty: that was not the reason.
std::string why_unverified(const SSL* tls);

// Fit for a header.
Result<std::string> read_token(const Material& token);

}  // namespace heddle::source::kubernetes
