// SPDX-License-Identifier: Apache-2.0
#include "agent/state/state_file.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

Sandbox full() {
  Sandbox out;
  out.facts.container_id = "c1";
  out.facts.netns_path = "/run/netns/a \"quoted\"";
  out.facts.netns_cookie = 0xfedcba9876543210ull;
  out.facts.pod_namespace = "shop";
  out.facts.pod_name = "web-1";
  out.facts.pod_uid = "u-1";
  out.facts.annotations = {{"linkerd.io/inject", "enabled"}};
  out.facts.attachments = {{"eth0", "net", {*IpAddress::parse("10.0.0.1"), *IpAddress::parse("fd00::1")}},
                           {"net1", "other", {}}};
  out.facts.netns_addresses = {*IpAddress::parse("10.0.0.1")};
  out.facts.source.emplace();
  out.facts.source->uid = "u-1";
  out.facts.source->service_account = "web";
  out.facts.source->labels = {{"app", "web\n"}};
  out.facts.source->namespace_annotations = {{"a", "b"}};
  out.facts.source->ips = {*IpAddress::parse("10.0.0.1")};
  out.facts.source->ports_by_name = {{"http", 8080}};
  out.pod_id = 17;
  out.mode = Mode::iptables;
  out.spec.meshed = true;
  out.outbound_port = 4140;
  out.inbound_port = 4143;
  out.path_reachable = true;
  out.pinned = true;
  out.rules = true;
  return out;
}

std::string file_with(const Sandbox& sandbox) {
  const auto line = encode_sandbox(sandbox);
  return encode_state(4711, "boot-1", {line});
}

TEST(StateFile, ReadsBackWhatItWrote) {
  const Sandbox written = full();
  const auto read = decode_state(file_with(written));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->mark, 4711u);
  EXPECT_EQ(read->boot, "boot-1");
  ASSERT_EQ(read->sandboxes.size(), 1u);
  const Sandbox& sandbox = read->sandboxes.front();
  EXPECT_EQ(sandbox.facts, written.facts);
  EXPECT_EQ(sandbox.pod_id, 17u);
  EXPECT_EQ(sandbox.mode, Mode::iptables);
  EXPECT_TRUE(sandbox.spec.meshed);
  EXPECT_EQ(sandbox.inbound_port, 4143);
  EXPECT_TRUE(sandbox.path_reachable);
  EXPECT_TRUE(sandbox.pinned);
  EXPECT_TRUE(sandbox.rules);
}

TEST(StateFile, TellsOfRulesThatAChangeOfModeMayHaveLeft) {
  Sandbox moving = full();
  moving.mode = Mode::ebpf;
  auto read = decode_state(file_with(moving));
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->sandboxes.front().rules);
  // As files without that word have it.
  read = decode_state(R"({"version":1,"sandboxes":[{"container_id":"a","mode":"iptables","meshed":true},
                          {"container_id":"b","mode":"ebpf","meshed":true}]})");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(read->sandboxes[0].rules);
  EXPECT_FALSE(read->sandboxes[1].rules);
}

TEST(StateFile, ReadsAnEmptyOne) {
  const auto read = decode_state(encode_state(1, "b", {}));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(read->sandboxes.empty());
}

TEST(StateFile, RefusesEveryPrefixOfItself) {
  const std::string text = file_with(full());
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(decode_state(std::string_view(text).substr(0, size))) << size;
  }
}

TEST(StateFile, SaysWhichFieldIsWrong) {
  const auto error_of = [](const std::string& text) {
    const auto read = decode_state(text);
    return read ? std::string() : read.error().message();
  };
  EXPECT_NE(error_of(R"({"version":1,"sandboxes":[{"container_id":"a","mode":"ebpf","cookie":-1}]})")
                .find("cookie"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"version":1,"sandboxes":[{"mode":"ebpf"}]})").find("container_id"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"version":1,"sandboxes":[{"container_id":"a","mode":"magic"}]})").find("mode"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"version":1,"sandboxes":[{"container_id":"a","mode":"ebpf","inbound_port":70000}]})")
                .find("inbound_port"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"version":1})").find("sandboxes"), std::string::npos);
  EXPECT_NE(error_of("[]"), "");
  EXPECT_NE(error_of(std::string(100'000, '[')), "");
}

TEST(StateFile, OfAnotherVersionIsNotTakenForCorrupt) {
  const auto read = decode_state(R"({"version":2,"sandboxes":[]})");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, make_error_code(Errc::unsupported));
}

}  // namespace
}  // namespace heddle::agent
