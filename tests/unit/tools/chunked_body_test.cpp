// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tools/http/client.h"

namespace heddle::tools {
namespace {

TEST(ChunkedBody, DecodesWhereverTheBytesAreCut) {
  const std::string wire = "5\r\nhello\r\n1;ext=1\r\n,\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
  for (std::size_t cut = 0; cut <= wire.size(); ++cut) {
    ChunkedBody body;
    std::string out;
    ASSERT_TRUE(body.feed(wire.substr(0, cut), out)) << cut;
    ASSERT_TRUE(body.feed(wire.substr(cut), out)) << cut;
    EXPECT_TRUE(body.complete()) << cut;
    EXPECT_EQ(out, "hello, world") << cut;
  }
}

TEST(ChunkedBody, RefusesWhatIsNoChunk) {
  for (const char* wire : {"x\r\n", "\r\n", "5\nhello", "5\r\nhelloX", "123456789\r\n"}) {
    ChunkedBody body;
    std::string out;
    EXPECT_FALSE(body.feed(wire, out)) << wire;
  }
}

}  // namespace
}  // namespace heddle::tools
