// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/worker_lane.h"

#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy {
namespace {

struct Told final : Connection {
  using Connection::Connection;
  void drain() override {}
  void abort() override {}
  void policy_changed(const PodRef& now) override { policies.push_back(now->policy); }
  std::vector<InboundPolicy> policies;
};

TEST(WorkerLane, TellsLiveConnectionsOfAChangedPolicyAndOfNothingElse) {
  test::Rig rig;
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  auto pod = std::make_shared<Pod>(*rig.add_pod(1, "127.0.0.9"));
  auto listeners = std::make_shared<PodListeners>();
  test::Server outbound, inbound;
  listeners->outbound = std::move(outbound.listener);
  listeners->inbound = std::move(inbound.listener);
  int served = 0;
  const auto serve = [&](const std::shared_ptr<Pod>& description) {
    lane.upsert(description, listeners, [&](const std::string& error) {
      EXPECT_EQ(error, "");
      ++served;
    });
    const int before = served;
    EXPECT_TRUE(rig.run_until([&] { return served > before; }));
  };
  serve(pod);
  auto connection = std::make_unique<Told>(pod);
  const Told& told = *connection;
  ASSERT_TRUE(rig.worker.connections->adopt(std::move(connection)));
  auto relabelled = std::make_shared<Pod>(*pod);
  relabelled->labels["version"] = "2";
  serve(relabelled);
  EXPECT_TRUE(told.policies.empty());
  auto tightened = std::make_shared<Pod>(*relabelled);
  tightened->policy = InboundPolicy::deny;
  serve(tightened);
  EXPECT_EQ(told.policies, std::vector<InboundPolicy>{InboundPolicy::deny});
  serve(tightened);
  EXPECT_EQ(told.policies.size(), 1u);
}

}  // namespace
}  // namespace heddle::proxy
