// SPDX-License-Identifier: Apache-2.0
// Linked when agent/fallback is not built: iptables mode then says so and eBPF is the only interception.
#include "agent/fallback/redirect.h"

namespace heddle::agent {
namespace {

Error missing() {
  return make_error(Errc::unsupported, "this heddle-agent was built without the iptables fallback");
}

}  // namespace

const char* to_string(RedirectBackend) {
  return "none";
}
Result<Redirect> Redirect::probe(const Options&) {
  return missing();
}
Result<> Redirect::install(const InterceptedPod&, int) {
  return missing();
}
Result<> Redirect::remove(int) {
  return missing();
}
Result<> Redirect::verify(const InterceptedPod&, int) const {
  return missing();
}

}  // namespace heddle::agent
