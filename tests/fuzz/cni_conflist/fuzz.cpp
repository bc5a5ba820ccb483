// SPDX-License-Identifier: Apache-2.0
// Configuration files that somebody else wrote: adding is idempotent, and removing gives the very bytes back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cni/conflist.h"

using namespace heddle::cni;

namespace {

void check(std::string_view list) {
  const std::string entry = entry_text({});
  const auto added = add_plugin(list, entry);
  if (!added) return;
  const auto again = add_plugin(*added, entry);
  if (!again || *again != *added) std::abort();
  const auto present = has_plugin(*added);
  if (!present || !*present) std::abort();
  const auto removed = remove_plugin(*added);
  if (!removed) std::abort();
  const auto had = has_plugin(list);
  if (had && !*had && *removed != list) std::abort();
  const auto left = has_plugin(*removed);
  if (!left || *left) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text);
  if (const auto list = list_from_conf(text)) check(*list);
  return 0;
}
