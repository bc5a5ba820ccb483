// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace heddle::proxy {

struct Worker;

// Plaintext HTTP connections of one worker: to unmeshed endpoints and to the pods' own apps, HTTP/1.1 kept alive and
// HTTP/2 shared, per (pod, address, protocol).
class HttpPool {
 public:
  virtual ~HttpPool() = default;
  virtual void drain() = 0;
};
std::unique_ptr<HttpPool> make_http_pool(Worker& worker);

}  // namespace heddle::proxy
