// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "agent/cni/request.h"
#include "agent/log_budget.h"
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
  EXPECT_EQ(explain_failure(make_errno(EAGAIN)).code, CniCode::try_again)
      << "fork(2) at the limit of processes";
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

TEST(ProxyMessage, GivesBackOnlyPodsThatCanBeRecorded) {
  const auto problem_of = [](const std::function<void(node::Pod&)>& spoil) {
    node::FromProxy message;
    node::Pod& pod = *message.mutable_held()->mutable_pod();
    pod.set_id(1);
    pod.set_netns_cookie(1);
    pod.set_namespace_("shop");
    pod.set_name("web");
    pod.set_outbound_port(4140);
    pod.set_inbound_port(4143);
    spoil(pod);
    node::FromProxy out;
    const auto read = decode_from_proxy(message.SerializeAsString(), 2, out);
    return read ? std::string() : read.error().message();
  };
  EXPECT_EQ(problem_of([](node::Pod&) {}), "");
  EXPECT_NE(problem_of([](node::Pod& pod) { pod.set_name("a\" error=\"none"); }), "");
  EXPECT_NE(problem_of([](node::Pod& pod) { pod.set_namespace_("two\nlines"); }), "");
  EXPECT_NE(problem_of([](node::Pod& pod) { pod.set_uid(std::string(254, 'u')); }), "");
  EXPECT_NE(problem_of([](node::Pod& pod) { pod.set_inbound_port(65536 + 4143); }), "");
  EXPECT_NE(problem_of([](node::Pod& pod) {
              for (int i = 0; i < 2000; ++i) pod.add_ips("10.0.0.1");
            }),
            "");
}

TEST(ProxyMessage, HasNoWordsThatLookLikeTheAgentsOwnInALog) {
  node::FromProxy message;
  node::FromProxy out;
  message.mutable_hello()->set_version("1\nERROR agent: all is lost");
  ASSERT_TRUE(decode_from_proxy(message.SerializeAsString(), 0, out));
  EXPECT_EQ(out.hello().version(), "1?ERROR agent: all is lost");
  message.mutable_pod_ack()->set_error(std::string(2000, 'x') + "\"");
  ASSERT_TRUE(decode_from_proxy(message.SerializeAsString(), 0, out));
  EXPECT_EQ(out.pod_ack().error(), std::string(1024, 'x'));
  message.mutable_certify_request()->set_identity("a\nb");
  message.mutable_certify_request()->set_csr("x");
  EXPECT_FALSE(decode_from_proxy(message.SerializeAsString(), 0, out));
}

TEST(LogBudget, IsSpentAndComesBack) {
  LogBudget budget;
  LogBudget::Time now{std::chrono::hours(1)};
  std::uint32_t written = 0;
  for (int i = 0; i < 1000; ++i) written += budget.take(now) ? 1 : 0;
  EXPECT_EQ(written, LogBudget::lines);
  EXPECT_TRUE(budget.take(now + LogBudget::period));
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
