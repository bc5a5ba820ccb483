// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

namespace heddle::proxy::tls {

// Connections whose TLS is over on both sides while TCP is not: the last bytes are still unsent, or the
// peer's FIN follows its close_notify a moment later. Closing then would reset and destroy data on its way to
// the peer. Each waits here for at most a few seconds. One per worker, on its thread.
class Lingering : public std::enable_shared_from_this<Lingering> {
 public:
  explicit Lingering(Loop& loop);
  ~Lingering();
  void take(std::unique_ptr<Stream> stream, std::vector<std::byte> unsent);
  std::size_t size() const;

 private:
  class One;
  void done(One* one);
  Loop& loop_;
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace heddle::proxy::tls
