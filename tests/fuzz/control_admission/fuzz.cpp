// SPDX-License-Identifier: Apache-2.0
// AdmissionReviews: whatever comes, a review that is read is answered, allowed, in JSON that reads again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/injector/decide.h"
#include "control/source/document.h"

using namespace heddle;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto request = control::read_admission_request(text);
  if (!request) return 0;
  source::Namespace ns;
  ns.meta.annotations.emplace("linkerd.io/inject", "enabled");
  const auto decision = control::decide_injection({}, *request, &ns);
  const auto answer = source::read_json(control::write_admission_review(*request, decision.answer));
  if (!answer || answer->size() != 1) std::abort();
  const source::Value* response = answer->front().find("response");
  const source::Value* allowed = response != nullptr ? response->find("allowed") : nullptr;
  if (allowed == nullptr || allowed->scalar != "true") std::abort();
  if (response->find("uid") == nullptr || response->find("uid")->scalar != request->uid) std::abort();
  return 0;
}
