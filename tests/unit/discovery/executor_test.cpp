// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/executor.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;

TEST(Executor, RunsTasksInOrderAndLaterOnesAtTheirTime) {
  Executor executor("test");
  std::vector<int> order;
  std::promise<void> done;
  const auto now = Executor::Clock::now();
  executor.at(now + 40ms, [&] {
    order.push_back(4);
    done.set_value();
  });
  executor.at(now + 20ms, [&] { order.push_back(3); });
  executor.post([&] { order.push_back(1); });
  executor.post([&] { order.push_back(2); });
  ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
}

TEST(Executor, ForgetsWhatComesAfterItsStop) {
  Executor executor("test");
  executor.stop();
  bool ran = false;
  executor.post([&] { ran = true; });
  executor.at(Executor::Clock::now(), [&] { ran = true; });
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace heddle::proxy
