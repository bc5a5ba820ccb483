// SPDX-License-Identifier: Apache-2.0
// What lies beside the agent's socket, up to the verdict on a pod.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cni/policy.h"

using namespace heddle;
using namespace heddle::cni;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto policy = parse_policy(text);
  NetworkConfig config;
  // Without the pod's annotations only the two kinds of namespaces that are never meshed may pass.
  for (const char* ns : {"", "heddle", "kube-system", "shop"}) {
    const Verdict verdict = decide_without_agent({ns, "p", "u"}, config, policy);
    if (verdict.reason.empty()) std::abort();
    const bool named = text.find(ns) != std::string_view::npos || !policy;
    // Escapes can spell a name in other ways.
    if (verdict.passes && !named && text.find('\\') == std::string_view::npos) std::abort();
  }
  config.annotations_passed = true;
  config.pod_annotations["linkerd.io/inject"] = "enabled";
  if (decide_without_agent({"shop", "p", "u"}, config, policy).passes && policy &&
      text.find("shop") == std::string_view::npos && text.find('\\') == std::string_view::npos) {
    std::abort();  // an excluded namespace that nobody named
  }
  return 0;
}
