// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/integration/http/proxy_lab.h"
#include "tests/integration/http/smuggling/readers.h"

namespace heddle::proxy::smuggling {

// The application behind the proxies. It reads what was forwarded strictly, keeps every byte for other
// readers, and answers each request with its target; one for "/scripted" with given bytes. It lives on the
// lab's server thread; the test asks between cases.
class RecordingApp {
 public:
  explicit RecordingApp(ProxyLab& lab);
  SocketAddress address() const { return address_; }

  // A new case begins: what came before is forgotten.
  void begin(std::string scripted = {}, bool close_after = false);

  // What a case led to.
  struct Record {
    std::vector<Message> messages;  // whole requests, as read strictly
    std::vector<std::string> raw;   // per connection that had any
    std::vector<std::string> errors;
  };
  Record record();

 private:
  struct Connection;
  struct State {
    std::mutex mutex;
    std::vector<std::shared_ptr<Connection>> connections;
    std::vector<Message> messages;
    std::vector<std::string> errors;
    std::string scripted;
    bool close_after = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  SocketAddress address_;
};

}  // namespace heddle::proxy::smuggling
