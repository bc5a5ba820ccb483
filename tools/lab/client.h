// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>

#include "tools/lab/layout.h"

namespace heddle::tools {

// One request to a lab's daemon and its reply. {"error": ...} becomes an Error; a lab whose daemon is gone is
// Errc::unavailable and says to take it down.
Result<boost::json::object> ask_lab(const LabLayout& layout, const boost::json::object& request);

// Both ends use these: JSON of any size travels in a memfd beside an empty message (unix messages are small).
Result<> send_json(int socket, const boost::json::object& object);
Result<boost::json::object> receive_json(int socket);

}  // namespace heddle::tools
