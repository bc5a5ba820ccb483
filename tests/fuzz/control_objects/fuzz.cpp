// SPDX-License-Identifier: Apache-2.0
// Files of Kubernetes objects: the first byte chooses YAML or JSON.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/source/annotations.h"
#include "control/source/decode.h"
#include "control/source/snapshot.h"

using namespace heddle::source;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Limits limits;
  limits.nodes = 20'000;  // as hard to exceed as the real limit, but quicker to reach
  limits.bytes = 256 * 1024;
  auto objects = parse_objects(text, data[0] == 'j' ? Format::json : Format::yaml, limits);
  if (!objects) {
    // Every error begins with a line.
    const std::string& why = objects.error().detail;
    if (why.empty() || why.front() < '0' || why.front() > '9') std::abort();
    return 0;
  }
  const Snapshot snapshot(std::move(*objects), 1);
  for (const auto& pod : snapshot.objects().pods) {
    const Namespace* ns = snapshot.find_namespace(pod->meta.ns);
    if (snapshot.find_pod(pod->meta.ns, pod->meta.name) != pod.get()) std::abort();
    if (pod->host_network && is_meshed(*pod, ns)) std::abort();
    (void)is_opaque_port(*pod, ns, 80);
  }
  for (const auto& slice : snapshot.objects().slices) {
    for (const EndpointPort& port : slice->ports) {
      if (port.port == 0) std::abort();
    }
  }
  return 0;
}
