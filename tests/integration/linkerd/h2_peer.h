// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/integration/linkerd/peer.h"

struct nghttp2_session;

namespace heddle::test {

using H2Fields = std::vector<std::pair<std::string, std::string>>;

// A message of either direction as it came.
struct H2Message {
  H2Fields fields;
  std::string body;
  bool ended = false;
  bool reset = false;
  // The value of the first field of that name, or "" (names with ':' too).
  std::string get(std::string_view name) const;
  bool has(std::string_view name) const;
};

// HTTP/2 by nghttp2 on a Peer, driven by the test's thread: it sends and receives only while something is
// waited for.
class H2Peer {
 public:
  H2Peer(Peer& connection, bool server);
  ~H2Peer();
  H2Peer(const H2Peer&) = delete;
  H2Peer& operator=(const H2Peer&) = delete;

  std::int32_t request(const H2Fields& fields, std::string body = {});
  void respond(std::int32_t stream, const H2Fields& fields, std::string body = {});
  // Waits for the message of that stream to end; what came of it when the connection ends first.
  const H2Message& wait(std::int32_t stream);
  // Server: waits for a further request to end; -1 when the connection ends first.
  std::int32_t wait_request();
  const H2Message& message(std::int32_t stream) { return messages_[stream]; }
  // Sends what is due.
  bool flush();

 private:
  struct Callbacks;
  bool turn();

  Peer& connection_;
  const bool server_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, H2Message> messages_;
  std::map<std::int32_t, std::string> bodies_;
  std::vector<std::int32_t> requests_;
  std::chrono::steady_clock::time_point give_up_{};
};

}  // namespace heddle::test
