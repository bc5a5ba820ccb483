// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "agent/cni/request.h"
#include "agent/proxy_link/message.h"
#include "api/node.pb.h"

namespace heddle::agent {
namespace {

node::CniRequest add() {
  node::CniRequest out;
  out.set_command(node::CniRequest::ADD);
  out.set_container_id("c1");
  out.set_ifname("eth0");
  out.set_netns("/run/netns/a");
  out.add_ips("10.0.0.1");
  return out;
}

std::string problem(const node::CniRequest& request, std::size_t descriptors = 1) {
  const auto call = decode_cni_call(request.SerializeAsString(), descriptors);
  return call ? "" : call.error().message();
}

TEST(CniRequest, IsReadWithAllItsFields) {
  auto request = add();
  (*request.mutable_pod_annotations())["linkerd.io/inject"] = "enabled";
  (*request.mutable_pod_annotations())["kubectl.kubernetes.io/last-applied"] = "long";
  const auto call = decode_cni_call(request.SerializeAsString(), 1);
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_EQ(call->command, CniCommand::add);
  EXPECT_EQ(call->container_id, "c1");
  EXPECT_EQ(call->ips.size(), 1u);
  EXPECT_EQ(call->annotations.size(), 1u) << "only those heddle reads";
}

TEST(CniRequest, IsRefusedWithTheFieldThatIsWrong) {
  auto request = add();
  request.set_container_id("../escape");
  EXPECT_NE(problem(request).find("container id"), std::string::npos);
  request = add();
  request.set_container_id(std::string(300, 'a'));
  EXPECT_NE(problem(request).find("container id"), std::string::npos);
  request = add();
  request.set_ifname("eth0/..");
  EXPECT_NE(problem(request).find("interface"), std::string::npos);
  request = add();
  request.set_ips(0, "10.0.0.1/24");
  EXPECT_NE(problem(request).find("address"), std::string::npos);
  request = add();
  request.set_pod_name("two\nlines");
  EXPECT_NE(problem(request).find("K8S_POD"), std::string::npos);
  EXPECT_NE(problem(add(), 0).find("descriptors"), std::string::npos);
  EXPECT_NE(problem(add(), 2).find("descriptors"), std::string::npos);
  EXPECT_FALSE(decode_cni_call("\xff\xff\xff", 0));
  EXPECT_FALSE(decode_cni_call("", 0)) << "no command";
}

TEST(CniRequest, OfGarbageCollectionListsWhatIsValid) {
  node::CniRequest request;
  request.set_command(node::CniRequest::GC);
  request.set_network("net");
  auto* attachment = request.add_valid_attachments();
  attachment->set_container_id("c1");
  attachment->set_ifname("eth0");
  const auto call = decode_cni_call(request.SerializeAsString(), 0);
  ASSERT_TRUE(call) << call.error().message();
  ASSERT_EQ(call->valid_attachments.size(), 1u);
  attachment->set_ifname("");
  EXPECT_FALSE(decode_cni_call(request.SerializeAsString(), 0));
}

TEST(CniAnswer, TellsWhatMayBeTriedAgain) {
  EXPECT_EQ(explain_failure(make_errno(EMFILE)).code, CniCode::try_again);
  EXPECT_EQ(explain_failure(make_errno(ENOSPC)).code, CniCode::try_again);
  EXPECT_EQ(explain_failure(make_error(Errc::unavailable)).code, CniCode::try_again);
  EXPECT_EQ(explain_failure(make_errno(EADDRINUSE)).code, CniCode::port_taken);
  EXPECT_EQ(explain_failure(make_error(Errc::exhausted)).code, CniCode::too_many_pods);
  EXPECT_EQ(explain_failure(make_error(Errc::unsupported)).code, CniCode::not_captured);
  for (const int code : {EMFILE, ENOSPC, EADDRINUSE, EPERM}) {
    EXPECT_FALSE(explain_failure(make_errno(code)).details.empty());
  }
}

TEST(ProxyMessage, IsRefusedWithTheWrongNumberOfDescriptors) {
  node::FromProxy message;
  message.mutable_hello()->set_version("1");
  node::FromProxy out;
  EXPECT_TRUE(decode_from_proxy(message.SerializeAsString(), 0, out));
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 1, out));
  message.mutable_held()->mutable_pod()->set_id(1);
  message.mutable_held()->mutable_pod()->set_netns_cookie(1);
  EXPECT_TRUE(decode_from_proxy(message.SerializeAsString(), 2, out));
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 1, out));
}

TEST(ProxyMessage, OfAnUnknownKindIsToldFromAMalformedOne) {
  node::FromProxy out;
  const auto unknown = decode_from_proxy(std::string_view("\xa2\x06\x00", 3), 0, out);  // field 100, empty
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, make_error_code(Errc::unsupported));
  const auto broken = decode_from_proxy("\xff\xff", 0, out);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, make_error_code(Errc::invalid_argument));
}

TEST(ProxyMessage, IsBounded) {
  node::FromProxy message;
  node::FromProxy out;
  message.mutable_socket_request()->set_count(100'000);
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 0, out));
  message.mutable_socket_request()->set_count(0);
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 0, out));
  message.mutable_certify_request()->set_identity("a");
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 0, out)) << "no CSR";
  message.mutable_certify_request()->set_csr(std::string(20'000, 'x'));
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 0, out));
  message.mutable_certify_request()->set_csr("x");
  EXPECT_TRUE(decode_from_proxy(message.SerializeAsString(), 0, out));
}

}  // namespace
}  // namespace heddle::agent
