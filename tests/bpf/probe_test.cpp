// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "agent/datapath/datapath.h"

namespace heddle::agent {
namespace {

TEST(Probe, LoadsAndAttachesEveryHookByItself) {
  const auto hooks = Datapath::probe();
  EXPECT_EQ(hooks.size(), 11u);
  for (const auto& hook : hooks) EXPECT_TRUE(hook.usable) << hook.hook << ": " << hook.reason;
}

}  // namespace
}  // namespace heddle::agent
