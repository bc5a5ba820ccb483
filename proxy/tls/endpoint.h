// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "proxy/io/loop.h"
#include "proxy/tls/accepting.h"
#include "proxy/tls/context.h"
#include "proxy/tls/linger.h"
#include "proxy/tls/tls.h"

namespace heddle::proxy::tls {

// The contexts of a worker by identity; changed by posts of the certificate store only.
using Contexts = std::unordered_map<std::string, ContextRef>;

// What an Endpoint's handshakes and streams share; on the worker's thread.
struct WorkerTls {
  WorkerTls(Loop& its_loop, std::size_t max_handshakes_per_pod)
      : loop(its_loop), lingering(std::make_shared<Lingering>(its_loop)), accepting(max_handshakes_per_pod) {}
  Loop& loop;
  Contexts contexts;
  std::shared_ptr<Lingering> lingering;
  Accepting accepting;
};

// `on_destroy` runs when the endpoint goes.
std::unique_ptr<Endpoint> make_endpoint(std::shared_ptr<WorkerTls> worker,
                                        std::function<void()> on_destroy = {});

}  // namespace heddle::proxy::tls
