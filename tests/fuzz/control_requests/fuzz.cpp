// SPDX-License-Identifier: Apache-2.0
// What clients of heddle-control send: the first byte chooses a path, a context token or a signing request.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/certify/signing_request.h"
#include "control/discovery/target.h"

using namespace heddle::control;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'p') {
    const auto target = parse_target(text, "cluster.local");
    if (!target && target.error().detail.find("IP:PORT") == std::string::npos) std::abort();
    const auto* service = target ? std::get_if<ServiceTarget>(&*target) : nullptr;
    if (service != nullptr && (service->port == 0 || service->ns.empty() || service->service.empty()))
      std::abort();
  } else if (data[0] == 't') {
    (void)parse_client(text);
  } else {
    (void)check_signing_request(text, "web.shop.serviceaccount.identity.heddle.cluster.local").has_value();
  }
  return 0;
}
