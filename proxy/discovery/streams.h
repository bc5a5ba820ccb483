// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/discovery/discovery.h"
#include "proxy/discovery/entry.h"
#include "proxy/discovery/executor.h"

namespace heddle::proxy {

// The gRPC calls to control. All callbacks run as tasks of the executor; a call that was destroyed calls
// nothing.
class Streams {
 public:
  class Call {  // destroying it cancels
   public:
    virtual ~Call() = default;
  };
  using Ended = std::function<void(StreamEnd, std::string why)>;

  static Result<std::unique_ptr<Streams>> make(const Discovery::Options& options,
                                               std::shared_ptr<Executor> executor);
  virtual ~Streams() = default;  // cancels nothing by itself: destroy the calls first

  // A call waits for the connection as long as it takes; `token` is the API's context_token.
  virtual std::unique_ptr<Call> profile(const std::string& path, const std::string& token,
                                        std::function<void(ProfileUpdate)> update, Ended ended) = 0;
  virtual std::unique_ptr<Call> endpoints(const std::string& path, const std::string& token,
                                          std::function<void(EndpointsUpdate)> update, Ended ended) = 0;
  // Reads the trust anchors again if the file changed; true: a new connection is used from now on, and calls
  // begun before should be begun again. Cheap.
  virtual bool refresh() = 0;
};

}  // namespace heddle::proxy
