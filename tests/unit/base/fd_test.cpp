// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

namespace heddle {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Fd, ClosesOnDestructionAndMovesItsDescriptor) {
  int raw = -1;
  {
    Fd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = first.get();
    Fd second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that a moved-from Fd is empty is the point
    EXPECT_TRUE(is_open(raw));
    first = std::move(second);
    EXPECT_EQ(first.get(), raw);
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(Fd, DuplicatesAreCloseOnExecAndIndependent) {
  Fd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto second = first.duplicate();
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(::fcntl(second->get(), F_GETFD), FD_CLOEXEC);
  first.reset();
  EXPECT_TRUE(is_open(second->get()));
}

TEST(Fd, DuplicatingNothingIsAnError) {
  const Fd nothing;
  auto copy = nothing.duplicate();
  ASSERT_FALSE(copy);
  EXPECT_EQ(copy.error().code.value(), EBADF);
}

TEST(Fd, RaisesTheSoftLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  auto limit = raise_fd_limit();
  ASSERT_TRUE(limit) << limit.error().message();
  EXPECT_EQ(*limit, before.rlim_max);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace heddle
