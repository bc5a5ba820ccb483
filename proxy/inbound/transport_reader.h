// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "proxy/inbound/transport_header.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// Reads Linkerd's transport header from a secured stream; gives the stream back with what follows the header.
class TransportReader final : private StreamEvents {
 public:
  struct Read {
    TransportHeader header;
    std::unique_ptr<Stream> stream;
  };
  using Done = std::function<void(Result<Read>)>;  // called once; destroy the reader by deferring

  TransportReader(Worker& worker, std::unique_ptr<Stream> stream, std::chrono::milliseconds timeout,
                  Done done);
  ~TransportReader();
  void start() { on_readable(); }

 private:
  void on_readable() override;
  void on_writable() override {}
  void finish(Result<Read> result);

  Worker& worker_;
  std::unique_ptr<Stream> stream_;
  Done done_;
  Timer timer_;
  std::vector<std::byte> bytes_;
};

}  // namespace heddle::proxy
