// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "proxy/pods/pod.h"

namespace heddle::proxy {

// One request's place among those that its pod may have at a time. Given back when it is destroyed.
class RequestSlot {
 public:
  RequestSlot() = default;
  ~RequestSlot() { give_back(); }
  RequestSlot(const RequestSlot&) = delete;
  RequestSlot& operator=(const RequestSlot&) = delete;

  // Why the pod may not have another request now (counted), or null: taken. Called once. Without a pod
  // everything is allowed.
  const char* take(PodLoad* of) {
    if (of == nullptr) return nullptr;
    if (const unsigned shedding = of->shedding.load(std::memory_order_relaxed); shedding != 0)
      return refuse_shedding(*of, shedding);
    const std::uint32_t before = of->requests.fetch_add(1, std::memory_order_relaxed);
    if (before < of->limits.requests.load(std::memory_order_relaxed)) {
      load_ = of;
      return nullptr;
    }
    of->requests.fetch_sub(1, std::memory_order_relaxed);
    of->count(Limit::requests);
    return "the pod has as many requests as it may";
  }
  void give_back() {
    if (PodLoad* load = std::exchange(load_, nullptr)) load->requests.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  static const char* refuse_shedding(PodLoad& of, unsigned shedding) {
    const bool memory = (shedding & (1U << static_cast<unsigned>(Limit::memory))) != 0;
    of.count(memory ? Limit::memory : Limit::descriptors);
    return memory ? "the proxy is short of memory and the pod uses most of it"
                  : "the proxy is short of descriptors and the pod uses most of them";
  }

  PodLoad* load_ = nullptr;  // kept by the request's budget
};

}  // namespace heddle::proxy
