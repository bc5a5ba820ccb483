// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/certificates.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "tests/unit/tls/pair.h"

namespace heddle::proxy::tls {
namespace {

using namespace std::chrono_literals;

TEST(Renewal, HappensAtSeventyPercentOfTheLife) {
  const auto now = std::chrono::system_clock::now();
  EXPECT_EQ(renew_after(now, now + 10h), 7h);
}

TEST(Renewal, IsNeitherHastyNorLate) {
  const auto now = std::chrono::system_clock::now();
  EXPECT_EQ(renew_after(now, now + 5s), 10s);
  EXPECT_EQ(renew_after(now, now - 5s), 10s);
  EXPECT_EQ(renew_after(now, now + 24h * 365), 24h);
}

// The agent: remembers what was asked.
struct Agent : CertifyRequester {
  struct Request {
    std::string identity;
    std::uint32_t pod;
    std::string csr;
  };
  void request(const std::string& identity, std::uint32_t pod, const std::string& csr) override {
    const std::lock_guard lock(mutex);
    requests.push_back({identity, pod, csr});
    changed.notify_all();
  }
  // Waits for the n-th request (from 1).
  std::optional<Request> wait(std::size_t n) {
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, 10s, [&] { return requests.size() >= n; })) return std::nullopt;
    return requests[n - 1];
  }
  std::size_t count() {
    const std::lock_guard lock(mutex);
    return requests.size();
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Request> requests;
};

class Certificates : public testing::Test {
 protected:
  Certificates() {
    write_anchors(authority.root_pem());
    options.trust_anchors = path;
    options.min_backoff = 5ms;
    options.max_backoff = 20ms;
    options.answer_timeout = 10s;
    options.min_renewal = 50ms;
  }
  ~Certificates() override { ::unlink(path.c_str()); }
  void write_anchors(const std::string& pem) { std::ofstream(path) << pem; }
  void open() { store = CertificateStore::open(options, agent, nullptr).value(); }
  void answer(const Agent::Request& r, std::chrono::seconds ends = 1h) {
    test::Authority::Leaf leaf;
    leaf.names = {r.identity};
    leaf.ends = ends;
    store->on_certificate(r.identity, authority.sign(r.csr, leaf), {}, 0, "");
  }

  test::Authority authority;
  const std::string path = testing::TempDir() + "anchors-" + std::to_string(::getpid()) + ".pem";
  CertificateStore::Options options;
  Agent agent;
  TestLoop loop;
  std::atomic<int> told = 0;
  std::unique_ptr<CertificateStore> store;  // writes to what is above
};

TEST_F(Certificates, AreAskedForWhenAPodAppearsAndReachTheWorker) {
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  const auto pod = make_pod(web, 7);
  store->pod_added(*pod);
  const auto request = agent.wait(1);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->pod, 7u);
  EXPECT_EQ(test::Authority::requested_names(request->csr), std::vector<std::string>{web});
  EXPECT_FALSE(endpoint->certified(*pod));
  answer(*request);
  EXPECT_TRUE(loop.until([&] { return endpoint->certified(*pod); }));
  EXPECT_NE(store->state_json().find("\"state\":\"valid\""), std::string::npos) << store->state_json();
  // A worker that comes later has it at once.
  TestLoop other;
  EXPECT_TRUE(store->make_endpoint(other.loop)->certified(*pod));
}

TEST_F(Certificates, AreSharedByThePodsOfAnIdentityAndForgottenAfterTheLast) {
  options.keep_unused = 50ms;
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  store->pod_added(*make_pod(web, 1));
  store->pod_added(*make_pod(web, 2));
  answer(*agent.wait(1));
  ASSERT_TRUE(loop.until([&] { return endpoint->certified(*make_pod(web)); }));
  store->pod_removed(*make_pod(web, 1));
  store->pod_removed(*make_pod(web, 1));
  EXPECT_NE(store->state_json().find("\"pods\":1"), std::string::npos) << store->state_json();
  EXPECT_TRUE(endpoint->certified(*make_pod(web)));
  store->pod_removed(*make_pod(web, 2));
  EXPECT_TRUE(loop.until([&] { return !endpoint->certified(*make_pod(web)); }));
  EXPECT_EQ(store->state_json(), "[]");
  EXPECT_EQ(agent.count(), 1u);
}

TEST_F(Certificates, ServeAPodWhoseSandboxIsMadeAnewWithoutAskingAgain) {
  options.keep_unused = 1h;
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  store->pod_added(*make_pod(web, 1));
  answer(*agent.wait(1));
  ASSERT_TRUE(loop.until([&] { return endpoint->certified(*make_pod(web)); }));
  store->pod_removed(*make_pod(web, 1));
  store->pod_added(*make_pod("other.default.serviceaccount.identity.heddle.cluster.local", 2));
  ASSERT_TRUE(agent.wait(2));  // so the store has run since
  loop.until([&] { return false; }, 1ms);
  EXPECT_TRUE(endpoint->certified(*make_pod(web)));
  store->pod_added(*make_pod(web, 3));
  EXPECT_TRUE(endpoint->certified(*make_pod(web)));
  EXPECT_EQ(agent.count(), 2u);
}

TEST_F(Certificates, ThatFellDueWithoutAPodAreAskedForWhenOneComes) {
  options.keep_unused = 1h;
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  store->pod_added(*make_pod(web, 1));
  answer(*agent.wait(1), 2s);
  ASSERT_TRUE(loop.until([&] { return endpoint->certified(*make_pod(web)); }));
  store->pod_removed(*make_pod(web, 1));
  ASSERT_TRUE(loop.until([&] { return store->state_json().find("expired") != std::string::npos; }));
  EXPECT_EQ(agent.count(), 1u);
  store->pod_added(*make_pod(web, 2));
  const auto again = agent.wait(2);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->pod, 2u);
}

TEST_F(Certificates, AreRenewedWithTheSameKey) {
  open();
  store->pod_added(*make_pod(web));
  const auto first = agent.wait(1);
  answer(*first, 1s);  // 70 % of it is less than what the limit for tests allows
  const auto second = agent.wait(2);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->csr, second->csr);
}

TEST_F(Certificates, OutliveAFailedRenewal) {
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  store->pod_added(*make_pod(web));
  answer(*agent.wait(1), 3s);
  ASSERT_TRUE(loop.until([&] { return endpoint->certified(*make_pod(web)); }));
  ASSERT_TRUE(agent.wait(2));
  store->on_certificate(web, "", {}, 0, "control is away");
  ASSERT_TRUE(agent.wait(3)) << "not asked again";
  EXPECT_NE(store->state_json().find("control is away"), std::string::npos) << store->state_json();
  EXPECT_NE(store->state_json().find("\"valid\""), std::string::npos) << store->state_json();
}

TEST_F(Certificates, AreAskedForAgainAfterARefusal) {
  open();
  store->pod_added(*make_pod(web));
  for (std::size_t n = 1; n < 4; ++n) {
    ASSERT_TRUE(agent.wait(n));
    store->on_certificate(web, "", {}, 0, "not a pod of this node");
  }
}

TEST_F(Certificates, AreAskedForAgainWhenNoAnswerComes) {
  options.answer_timeout = 10ms;
  open();
  store->pod_added(*make_pod(web));
  EXPECT_TRUE(agent.wait(3));
}

TEST_F(Certificates, AreAskedForAtOnceWhenTheAgentIsBack) {
  open();
  store->pod_added(*make_pod(web));
  ASSERT_TRUE(agent.wait(1));
  store->link_up();
  EXPECT_TRUE(agent.wait(2));
}

TEST_F(Certificates, AreSaidToBeAnsweredWhenTheLastOfThemIs) {
  options.min_backoff = options.max_backoff = 1h;
  open();
  const auto asked = [&](const std::string& identity, std::uint32_t pod) {
    store->pod_added(*make_pod(identity, pod));
    return *agent.wait(pod);
  };
  const auto first = asked(web, 1);
  const auto second = asked("other.default.serviceaccount.identity.heddle.cluster.local", 2);
  store->when_answered([&] { ++told; });
  answer(first);
  asked("third.default.serviceaccount.identity.heddle.cluster.local", 3);  // so the store has run since
  EXPECT_EQ(told, 0);
  store->pod_removed(*make_pod("third.default.serviceaccount.identity.heddle.cluster.local", 3));
  store->on_certificate(second.identity, "", {}, 0, "no");
  EXPECT_TRUE(loop.until([&] { return told == 1; }))
      << "a refusal is an answer, and who has no pod waits for none";
  store->when_answered([&] { told += 10; });
  EXPECT_TRUE(loop.until([&] { return told == 11; })) << "there is nothing to wait for";
}

TEST_F(Certificates, OfSomebodyElseAreRefused) {
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  store->pod_added(*make_pod(web));
  const auto request = agent.wait(1);
  test::Authority::Leaf leaf;
  leaf.names = {"admin.shop.serviceaccount.identity.heddle.cluster.local"};
  store->on_certificate(web, authority.sign(request->csr, leaf), {}, 0, "");
  ASSERT_TRUE(agent.wait(2));
  EXPECT_NE(store->state_json().find("it names 'admin.shop"), std::string::npos) << store->state_json();
}

TEST_F(Certificates, ForAnotherKeyAreRefused) {
  open();
  store->pod_added(*make_pod(web));
  ASSERT_TRUE(agent.wait(1));
  test::Authority::Leaf leaf;
  leaf.names = {web};
  store->on_certificate(web, authority.sign(make_request(make_key().value(), web).value(), leaf), {}, 0, "");
  ASSERT_TRUE(agent.wait(2));
  EXPECT_NE(store->state_json().find("another key"), std::string::npos) << store->state_json();
}

TEST_F(Certificates, ThatAreGarbageAreRefused) {
  open();
  store->pod_added(*make_pod(web));
  ASSERT_TRUE(agent.wait(1));
  store->on_certificate(web, "garbage", {}, 0, "");
  EXPECT_TRUE(agent.wait(2));
}

TEST_F(Certificates, NeedReadableTrustAnchors) {
  options.trust_anchors = "/nonexistent/anchors.pem";
  auto missing = CertificateStore::open(options, agent, nullptr);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message().find("/nonexistent/anchors.pem"), std::string::npos);
  options.trust_anchors = path;
  write_anchors("nothing in here");
  EXPECT_FALSE(CertificateStore::open(options, agent, nullptr));
  write_anchors(authority.root_pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_FALSE(CertificateStore::open(options, agent, nullptr));
}

TEST_F(Certificates, AreRotatedWhileConnectionsComeAndGo) {
  open();
  auto endpoint = store->make_endpoint(loop.loop);
  const auto pod = make_pod(web);
  store->pod_added(*pod);
  answer(*agent.wait(1), 2s);
  ASSERT_TRUE(loop.until([&] { return endpoint->certified(*pod); }));
  Side client(loop.loop, issue(authority, client_name, anchors_of(authority)));
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    auto [a, b] = sockets();
    std::optional<Result<Established>> at_client, at_server;
    auto one = client.endpoint->connect(make_tcp_stream(loop.loop, std::move(a)), client.pod, web, web, {},
                                        5s, [&](Result<Established> r) { at_client = std::move(r); });
    auto two = endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), pod, IpAddress{}, both_protocols,
                                5s, [&](Result<Established> r) { at_server = std::move(r); });
    ASSERT_TRUE(loop.until([&] { return at_client && at_server; }));
    good += at_client->has_value() && at_server->has_value() ? 1 : 0;
    if (i == 10) answer(*agent.wait(2));
  }
  EXPECT_EQ(good, 20);
}

}  // namespace
}  // namespace heddle::proxy::tls
