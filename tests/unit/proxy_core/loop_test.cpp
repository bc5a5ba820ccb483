// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <thread>

#include "base/fd.h"
#include "proxy/io/timer_heap.h"

namespace heddle::proxy {
namespace {

struct FunctionHandler final : IoHandler {
  std::function<void(std::uint32_t)> call;
  void on_io(std::uint32_t events) override { call(events); }
};

struct Pair {
  Fd read, write;
  Pair() {
    int fds[2];
    if (::pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) std::abort();
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
};

TEST(Loop, RunsPostedTasksInOrder) {
  Loop loop;
  std::vector<int> seen;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) loop.post([&seen, i] { seen.push_back(i); });
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  other.join();
  ASSERT_EQ(seen.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Loop, DeliversNoEventAfterRemoveEvenIfItWasFetched) {
  Loop loop;
  Pair one, other;
  FunctionHandler first, second;
  int calls = 0;
  // Both are ready in one batch; whichever runs first removes the other.
  first.call = [&](std::uint32_t) {
    ++calls;
    loop.remove(other.read.get(), second);
  };
  second.call = [&](std::uint32_t) {
    ++calls;
    loop.remove(one.read.get(), first);
  };
  ASSERT_TRUE(loop.add(one.read.get(), EPOLLIN | EPOLLET, first));
  ASSERT_TRUE(loop.add(other.read.get(), EPOLLIN | EPOLLET, second));
  ASSERT_EQ(::write(one.write.get(), "x", 1), 1);
  ASSERT_EQ(::write(other.write.get(), "x", 1), 1);
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm(std::chrono::milliseconds(20));
  loop.run();
  EXPECT_EQ(calls, 1);
}

TEST(Loop, TellsAReusedDescriptorNumberApart) {
  Loop loop;
  Pair trigger, old;
  const int number = old.read.get();
  FunctionHandler replacer, stale, fresh;
  int stale_calls = 0;
  int fresh_calls = 0;
  Pair next;
  const auto replace = [&] {
    // The same number is now another pipe, watched by another handler, without anything to read.
    loop.remove(number, stale);
    ASSERT_EQ(::dup3(next.read.get(), number, O_CLOEXEC), number);
    ASSERT_TRUE(loop.add(number, EPOLLIN | EPOLLET, fresh));
  };
  bool replaced = false;
  replacer.call = [&](std::uint32_t) {
    if (!std::exchange(replaced, true)) replace();
  };
  stale.call = [&](std::uint32_t) { ++stale_calls; };
  fresh.call = [&](std::uint32_t) { ++fresh_calls; };
  ASSERT_TRUE(loop.add(trigger.read.get(), EPOLLIN | EPOLLET, replacer));
  ASSERT_TRUE(loop.add(number, EPOLLIN | EPOLLET, stale));
  ASSERT_EQ(::write(trigger.write.get(), "x", 1), 1);  // its event is fetched first
  ASSERT_EQ(::write(old.write.get(), "x", 1), 1);
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm(std::chrono::milliseconds(20));
  loop.run();
  EXPECT_TRUE(replaced);
  EXPECT_EQ(stale_calls, 0);
  EXPECT_EQ(fresh_calls, 0);
}

TEST(Loop, DeferredTasksThatDeferAgainDoNotStarveDescriptors) {
  Loop loop;
  Pair pipe;
  FunctionHandler handler;
  handler.call = [&](std::uint32_t) { loop.stop(); };
  ASSERT_TRUE(loop.add(pipe.read.get(), EPOLLIN | EPOLLET, handler));
  int rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds == 10) {
      EXPECT_EQ(::write(pipe.write.get(), "x", 1), 1);
    }
    ASSERT_LT(rounds, 1000);
    loop.defer([&] { again(); });
  };
  loop.defer([&] { again(); });
  loop.run();
  EXPECT_GE(rounds, 10);
}

TEST(Timer, FiresInOrderOfTime) {
  Loop loop;
  std::vector<int> order;
  Timer late(loop, [&] {
    order.push_back(3);
    loop.stop();
  });
  Timer early(loop, [&] { order.push_back(1); });
  Timer middle(loop, [&] { order.push_back(2); });
  late.arm(std::chrono::milliseconds(30));
  early.arm(std::chrono::milliseconds(5));
  middle.arm(std::chrono::milliseconds(15));
  loop.run();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(Timer, MayBeMovedBothWaysAndCancelled) {
  Loop loop;
  std::string order;
  Timer end(loop, [&] { loop.stop(); });
  Timer pulled(loop, [&] { order += 'p'; });
  Timer pushed(loop, [&] { order += 'q'; });
  Timer cancelled(loop, [&] { order += 'c'; });
  pulled.arm(std::chrono::hours(1));
  pulled.arm(std::chrono::milliseconds(10));
  pushed.arm(std::chrono::milliseconds(5));
  pushed.arm(std::chrono::milliseconds(20));
  cancelled.arm(std::chrono::milliseconds(5));
  cancelled.cancel();
  end.arm(std::chrono::milliseconds(40));
  loop.run();
  EXPECT_EQ(order, "pq");
}

TEST(Timer, FiresInTimeHoweverFarAwayItWasAndWhatElseWasMoved) {
  using namespace std::chrono_literals;
  Loop loop;
  const auto begin = Loop::Clock::now();
  std::vector<std::chrono::milliseconds> order;
  const auto note = [&](std::chrono::milliseconds due) {
    order.push_back(due);
    EXPECT_GE(Loop::Clock::now() - begin, due);
  };
  Timer never(loop, [&] { note(0ms); });
  Timer pulled(loop, [&] { note(45ms); });
  Timer moved(loop, [&] { note(60ms); });
  Timer pushed(loop, [&] {
    note(90ms);
    loop.stop();
  });
  Timer first(loop, [&] {
    note(5ms);
    never.cancel();
    moved.arm(55ms);
    pushed.arm(85ms);
  });
  never.arm(25ms);
  pushed.arm(30ms);
  moved.arm(10s);
  pulled.arm(10s);
  pulled.arm(45ms);
  first.arm(5ms);
  loop.run();
  EXPECT_EQ(order, (std::vector{5ms, 45ms, 60ms, 90ms}));
}

TEST(Timer, MayDestroyItselfInItsCallback) {
  Loop loop;
  std::unique_ptr<Timer> timer;
  int token = 7;
  int seen = 0;
  timer = std::make_unique<Timer>(loop, [&timer, &seen, &loop, copy = std::make_shared<int>(token)] {
    timer.reset();
    seen = *copy;  // the callback itself is still alive
    loop.stop();
  });
  timer->arm(std::chrono::milliseconds(1));
  loop.run();
  EXPECT_EQ(seen, 7);
}

TEST(TimerHeap, KeepsOrderUnderRandomArmingAndForgetting) {
  TimerHeap heap;
  std::vector<std::unique_ptr<TimerNode>> nodes;
  std::uint64_t random = 42;
  const auto next_random = [&] {
    return random = random * 6364136223846793005u + 1442695040888963407u, random >> 33;
  };
  const TimerHeap::Clock::time_point start{};
  TimerHeap::Clock::time_point now = start;
  int fired = 0;
  bool early = false;
  for (int i = 0; i < 500; ++i) {
    nodes.push_back(std::make_unique<TimerNode>());
    heap.expect_one_more();
    TimerNode* node = nodes.back().get();
    node->callback = [&, node] {
      ++fired;
      early |= node->deadline > now;
    };
  }
  for (int round = 0; round < 20'000; ++round) {
    TimerNode& node = *nodes[next_random() % nodes.size()];
    switch (next_random() % 4) {
      case 0:
        node.armed = false;
        break;
      case 1:
        heap.forget(node);
        node.armed = false;
        break;
      default:
        heap.arm(node, now + std::chrono::milliseconds(next_random() % 50));
    }
    now += std::chrono::microseconds(next_random() % 1000);
    heap.run(now);
    for (const auto& each : nodes) {
      ASSERT_FALSE(each->armed && each->deadline <= now) << "missed in round " << round;
    }
  }
  EXPECT_FALSE(early);
  EXPECT_GT(fired, 1000);
  EXPECT_LE(heap.queued(), nodes.size());
}

// Many descriptors of one share, all ready, each of whose events takes a while; and one of another share.
struct Flood {
  static constexpr std::size_t many = 400;
  explicit Flood(Loop& on) : loop(on) {
    for (std::size_t i = 0; i < many; ++i) {
      auto& handler = handlers.emplace_back(std::make_unique<FunctionHandler>());
      handler->call = [this](std::uint32_t) { served(); };
      auto& pair = pairs.emplace_back(std::make_unique<Pair>());
      EXPECT_EQ(::write(pair->write.get(), "x", 1), 1);
      EXPECT_TRUE(loop.add(pair->read.get(), EPOLLIN | EPOLLET, *handler, share));
    }
    other.call = [this](std::uint32_t) {
      before_other = events;
      loop.stop();
    };
    EXPECT_TRUE(loop.add(single.read.get(), EPOLLIN | EPOLLET, other, others_share));
  }
  void served() {
    burn(std::chrono::microseconds(20));
    if (++events != 1) return;
    EXPECT_EQ(::write(single.write.get(), "x", 1), 1);
  }
  static void burn(std::chrono::microseconds time) {
    const auto end = Loop::Clock::now() + time;
    while (Loop::Clock::now() < end) {
    }
  }
  Loop& loop;
  ShareRef share = loop.share(1), others_share = loop.share(2);
  std::vector<std::unique_ptr<FunctionHandler>> handlers;
  std::vector<std::unique_ptr<Pair>> pairs;
  FunctionHandler other;
  Pair single;
  std::size_t events = 0, before_other = 0;
};

TEST(LoopShares, AnEventDoesNotWaitForAllOfAnothersThatWereReadyBefore) {
  Loop loop;
  Flood flood(loop);
  loop.run();
  EXPECT_LT(flood.before_other, 20u) << "a turn of one that was alone takes eight of these";
}

TEST(LoopShares, AnEventDoesNotWaitForWorkThatGoesOnWithoutAnEnd) {
  Loop loop;
  Flood flood(loop);
  std::function<void()> more = [&] {
    flood.served();
    loop.go_on([&] { more(); });
  };
  for (auto& handler : flood.handlers) handler->call = [&](std::uint32_t) { loop.go_on([&] { more(); }); };
  loop.run();
  EXPECT_GT(flood.before_other, 0u);
  EXPECT_LT(flood.before_other, 20u);
}

TEST(LoopShares, WhatAnEventDefersDoesNotWaitForWhatAnotherHasDeferred) {
  Loop loop;
  Flood flood(loop);
  std::size_t deferred = 0, before = 0;
  for (auto& handler : flood.handlers) {
    handler->call = [&](std::uint32_t) {
      for (int i = 0; i < 10; ++i) {
        loop.defer([&] {
          Flood::burn(std::chrono::microseconds(20));
          ++deferred;
        });
      }
      flood.served();
    };
  }
  flood.other.call = [&](std::uint32_t) {
    EXPECT_EQ(loop.current(), flood.others_share.get());
    loop.defer([&, until_now = deferred] {
      EXPECT_EQ(loop.current(), flood.others_share.get()) << "what is deferred counts for who did it";
      before = deferred - until_now;
      loop.stop();
    });
  };
  loop.run();
  EXPECT_LT(before, 8u) << "thousands are deferred";
}

TEST(LoopShares, NothingNewIsServedBeforeADeferredTaskThatWasCut) {
  Loop loop;
  Flood flood(loop);
  int pieces = 0;
  std::size_t events = 0;
  flood.handlers[0]->call = [&](std::uint32_t) {
    flood.served();
    loop.defer([&] {
      if (pieces == 0) events = flood.events;
      EXPECT_EQ(events, flood.events) << "an event of the same share came in between";
      do {
        Flood::burn(std::chrono::microseconds(10));
      } while (!loop.used_up());
      if (++pieces < 20) return loop.again();
    });
  };
  // Somebody else's events do come in between.
  int before_other = -1;
  flood.other.call = [&](std::uint32_t) { before_other = pieces; };
  flood.handlers.back()->call = [&](std::uint32_t) {
    flood.served();
    loop.stop();
  };
  loop.run();
  EXPECT_EQ(pieces, 20);
  EXPECT_GE(before_other, 0);
  EXPECT_LT(before_other, 20);
}

TEST(LoopShares, WhoIsAloneGathersWhatComesMeanwhileBeforeWhatItDeferred) {
  Loop loop;
  const ShareRef busy = loop.share(1);
  const ShareRef quiet = loop.share(2);
  Pair first, second, late;
  FunctionHandler makes_late, usual, comes_late;
  std::string order;
  makes_late.call = [&](std::uint32_t) {
    loop.defer([&] {
      order += 'd';
      loop.stop();
    });
    EXPECT_EQ(::write(late.write.get(), "x", 1), 1);
  };
  usual.call = [&](std::uint32_t) { order += 'e'; };
  comes_late.call = [&](std::uint32_t) { order += 'l'; };
  ASSERT_EQ(::write(first.write.get(), "x", 1), 1);
  ASSERT_EQ(::write(second.write.get(), "x", 1), 1);
  ASSERT_TRUE(loop.add(first.read.get(), EPOLLIN | EPOLLET, makes_late, busy));
  ASSERT_TRUE(loop.add(second.read.get(), EPOLLIN | EPOLLET, usual, busy));
  ASSERT_TRUE(loop.add(late.read.get(), EPOLLIN | EPOLLET, comes_late, busy));
  loop.run();
  EXPECT_EQ(order, "eld");
}

TEST(LoopShares, WhoIsAloneGathersMoreThanItMayBesideOthersBeforeWhatItDeferred) {
  Loop loop;
  Flood flood(loop);
  std::size_t gathered = 0;
  for (auto& handler : flood.handlers) {
    handler->call = [&](std::uint32_t) {
      Flood::burn(std::chrono::microseconds(10));
      ++flood.events;
      loop.defer([&] {
        if (gathered == 0) gathered = flood.events;
        loop.stop();
      });
    };
  }
  loop.run();
  EXPECT_GE(gathered, 12u) << "the clock is not asked before the eighth, and then it is served on";
  EXPECT_LT(gathered, Flood::many) << "and what it deferred does not wait for all";
}

TEST(LoopShares, TasksThatWaitMayForgetDescriptorsWhenTheLoopEnds) {
  FunctionHandler handler;
  Pair pair;
  struct Watch {
    Loop& loop;
    Pair& pair;
    FunctionHandler& handler;
    ~Watch() { loop.remove(pair.read.get(), handler); }
  };
  Loop loop;
  const ShareRef one = loop.share(1);
  const ShareRef two = loop.share(2);
  ASSERT_TRUE(loop.add(pair.read.get(), EPOLLIN | EPOLLET, handler, one));
  const Loop::OnBehalf behalf(loop, one.get());
  loop.defer([watch = std::make_shared<Watch>(loop, pair, handler)] {});
}

TEST(LoopShares, DeliverEverythingInTheEndAndToNobodyWhoLeft) {
  Loop loop;
  Flood flood(loop);
  flood.other.call = [](std::uint32_t) {};
  std::size_t left = 0;
  flood.handlers[3]->call = [&](std::uint32_t) {
    // Events that were fetched and wait for their turn are of no descriptor any more, whoever has its number
    // next.
    for (std::size_t i = 10; i < 20; ++i) {
      flood.handlers[i]->call = [&](std::uint32_t) { ++left; };
      loop.remove(flood.pairs[i]->read.get(), *flood.handlers[i]);
    }
    EXPECT_TRUE(loop.add(flood.pairs[10]->read.get(), EPOLLIN | EPOLLET, flood.other, flood.others_share));
    flood.served();
  };
  Timer deadline(loop, [&] { loop.stop(); });
  deadline.arm(std::chrono::seconds(20));
  flood.handlers.back()->call = [&](std::uint32_t) {
    flood.served();
    loop.stop();
  };
  loop.run();
  EXPECT_EQ(flood.events, Flood::many - 10);
  EXPECT_EQ(left, 0u);
}

TEST(LoopShares, OneAloneIsServedWithoutQueues) {
  Loop loop;
  const ShareRef only = loop.share(1);
  EXPECT_FALSE(loop.shared());
  Pair pair;
  FunctionHandler handler;
  Share* seen = nullptr;
  bool used_up = true;
  handler.call = [&](std::uint32_t) {
    seen = loop.current();
    Flood::burn(2 * Loop::turn);
    used_up = loop.used_up();
    loop.stop();
  };
  ASSERT_EQ(::write(pair.write.get(), "x", 1), 1);
  ASSERT_TRUE(loop.add(pair.read.get(), EPOLLIN | EPOLLET, handler, only));
  loop.run();
  EXPECT_EQ(seen, only.get());
  EXPECT_FALSE(used_up) << "nobody waits for it";
  const ShareRef again = loop.share(1);
  EXPECT_EQ(again.get(), only.get());
  const ShareRef second = loop.share(2);
  EXPECT_TRUE(loop.shared());
}

TEST(LoopShares, AreForgottenWithTheirLastHolder) {
  Loop loop;
  const ShareRef kept = loop.share(1);
  {
    const ShareRef gone = loop.share(2);
  }
  const ShareRef third = loop.share(3);
  EXPECT_TRUE(loop.shared());
  Loop other;
  {
    const ShareRef gone = other.share(1);
  }
  const ShareRef alone = other.share(2);
  EXPECT_FALSE(other.shared());
}

}  // namespace
}  // namespace heddle::proxy
