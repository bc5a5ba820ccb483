// SPDX-License-Identifier: Apache-2.0
// What an API server or a kubeconfig may say. The first byte chooses: 'k' a kubeconfig, 'd' an answer of
// discovery, else the body of a watch, cut into pieces of that many bytes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/discovery.h"
#include "control/source/kubernetes/store.h"
#include "control/source/kubernetes/watch_decoder.h"

using namespace heddle::source;
using namespace heddle::source::kubernetes;

namespace {

void try_kubeconfig(std::string_view text) {
  auto config = Kubeconfig::parse(text, "/folder");
  if (!config) return;
  const auto access = config->access("", false);
  if (!access) {
    if (access.error().detail.empty()) std::abort();
    return;
  }
  if (access->skip_verification || access->host.empty() || access->port == 0) std::abort();
  if (access->certificate.empty() != access->key.empty()) std::abort();
  // Nothing may end a header line early.
  for (const std::string* part : {&access->host, &access->path_prefix, &access->token.text}) {
    if (part->find_first_of("\r\n ") != std::string::npos) std::abort();
  }
}

struct Seen {
  std::vector<std::string> versions;
  bool failed = false;

  bool operator==(const Seen&) const = default;
};

Seen watch(std::string_view body, std::size_t piece) {
  constexpr std::size_t line_limit = 64 * 1024;
  WatchDecoder decoder(line_limit);
  Store store;
  const Resource pods{"/api/v1/pods", "Pod", "v1"};
  Seen seen;
  const auto visit = [&](WatchEvent event) {
    if (event.object.kind != Value::Kind::map) std::abort();
    seen.versions.push_back(resource_version_of(event.object) + std::to_string(code_of(event.object)));
    if (event.type == WatchEvent::Type::deleted) {
      store.remove(event.object);
    } else {
      (void)store.put(pods, std::move(event.object)).has_value();
    }
  };
  while (!body.empty() && !seen.failed) {
    seen.failed = !decoder.feed(body.substr(0, piece), visit);
    if (decoder.pending() > line_limit) std::abort();
    body.remove_prefix(std::min(piece, body.size()));
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'k') {
    try_kubeconfig(text);
  } else if (data[0] == 'd') {
    Discovery discovery;
    for (int i = 0; i < 4 && !discovery.found(); ++i) (void)discovery.on_answer(200, text).has_value();
  } else if (!(watch(text, text.size()) == watch(text, data[0] + std::size_t{1}))) {
    std::abort();  // how it is cut must not matter
  }
  return 0;
}
