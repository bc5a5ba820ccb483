// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/engine.h"

#include "tests/unit/http/in_memory.h"

namespace heddle::proxy::http {
namespace {

struct Item final : TurnItem {
  std::function<void()> call;
  void on_turn() override { call(); }
};

void burn(std::chrono::microseconds time) {
  const auto end = Loop::Clock::now() + time;
  while (Loop::Clock::now() < end) {
  }
}

TEST(Engine, LeavesAnItemScheduledFromATurnToTheNextOne) {
  TestLoop loop;
  Item again;
  int calls = 0;
  int other_calls = 0;
  Item other;
  other.call = [&] { ++other_calls; };
  again.call = [&] {
    ++calls;
    EXPECT_EQ(other_calls, calls > 1 ? 1 : 0);
    if (calls < 3) loop.engine.schedule(again);
  };
  loop.engine.schedule(again);
  loop.engine.schedule(other);
  EXPECT_TRUE(loop.until([&] { return calls == 3; }));
}

TEST(Engine, ServesOneShareBeforeAllOfAnothersMany) {
  TestLoop loop;
  const ShareRef busy = loop.loop.share(1);
  const ShareRef quiet = loop.loop.share(2);
  std::vector<std::unique_ptr<Item>> many;
  std::size_t served = 0;
  for (int i = 0; i < 400; ++i) {
    many.push_back(std::make_unique<Item>());
    many.back()->call = [&] {
      burn(std::chrono::microseconds(20));
      ++served;
    };
    const Loop::OnBehalf behalf(loop.loop, busy.get());
    loop.engine.schedule(*many.back());
  }
  Item single;
  std::size_t before = many.size();
  single.call = [&] {
    before = served;
    EXPECT_EQ(loop.loop.current(), quiet.get()) << "what it does counts for its own share";
  };
  {
    const Loop::OnBehalf behalf(loop.loop, quiet.get());
    loop.engine.schedule(single);
  }
  EXPECT_TRUE(loop.until([&] { return before != many.size(); }));
  EXPECT_LT(before, 8u) << "a quantum is three of these";
  EXPECT_TRUE(loop.until([&] { return served == many.size(); }));
}

TEST(Engine, LetsNothingNewOfAShareInBeforeItsTurnThatWasCut) {
  TestLoop loop;
  const ShareRef busy = loop.loop.share(1);
  const ShareRef quiet = loop.loop.share(2);
  std::vector<std::unique_ptr<Item>> many;
  std::size_t served = 0, before_new = 0;
  const Loop::OnBehalf behalf(loop.loop, busy.get());
  for (int i = 0; i < 100; ++i) {
    many.push_back(std::make_unique<Item>());
    many.back()->call = [&] {
      burn(std::chrono::microseconds(20));
      if (++served == 1) loop.loop.go_on([&] { before_new = served; });
    };
    loop.engine.schedule(*many.back());
  }
  Item others;
  std::size_t before_others = 0;
  others.call = [&] { before_others = served; };
  {
    const Loop::OnBehalf other(loop.loop, quiet.get());
    loop.engine.schedule(others);
  }
  EXPECT_TRUE(loop.until([&] { return before_new != 0; }));
  EXPECT_EQ(before_new, many.size());
  EXPECT_LT(before_others, many.size());
}

TEST(Engine, ForgetsAnItemThatDiesWhileItWaits) {
  TestLoop loop;
  const ShareRef one = loop.loop.share(1);
  const ShareRef two = loop.loop.share(2);
  auto dying = std::make_unique<Item>();
  dying->call = [] { ADD_FAILURE() << "it is gone"; };
  Item killer;
  bool killed = false;
  killer.call = [&] {
    dying.reset();
    killed = true;
  };
  {
    const Loop::OnBehalf behalf(loop.loop, one.get());
    loop.engine.schedule(killer);
  }
  {
    const Loop::OnBehalf behalf(loop.loop, two.get());
    loop.engine.schedule(*dying);
  }
  EXPECT_TRUE(loop.until([&] { return killed; }));
  loop.settle();
}

}  // namespace
}  // namespace heddle::proxy::http
