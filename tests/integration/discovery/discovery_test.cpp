// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/discovery.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <thread>

#include "proxy/io/loop.h"
#include "tests/integration/discovery/scripted_control.h"
#include "tests/support/authority/authority.h"
#include "tests/support/eventually.h"

namespace heddle::proxy {
namespace {

using namespace std::chrono_literals;
using State = Destination::State;
using test::ScriptedControl;

const std::string vip = "10.96.0.10:80";
const std::string web = "web.shop.svc.cluster.local:80";

// The test's thread is the worker.
class Discover : public testing::Test {
 protected:
  Discover() {
    options.node_name = "node-1";
    options.answer_timeout = 2s;
    options.min_backoff = 20ms;
    options.max_backoff = 100ms;
    options.not_found_retry = 50ms;
    client.ns = "shop";
    client.name = "curl";
  }
  void start_control(int port = 0) {
    control = std::make_unique<ScriptedControl>(port);
    ASSERT_NE(control->port(), 0);
  }
  void start() {
    if (options.address.empty()) options.address = "127.0.0.1:" + std::to_string(control->port());
    discovery = Discovery::start(options, nullptr).value();
    directory = discovery->make_directory(loop);
  }
  DestinationRef lookup(const std::string& address = vip) {
    return directory->lookup(client, SocketAddress::parse(address).value());
  }
  template <class Condition>
  bool until(Condition condition, std::chrono::milliseconds limit = 10s) {
    bool late = false;
    Timer deadline(loop, [&] { late = true; });
    deadline.arm(limit);
    Timer* again = nullptr;
    Timer look(loop, [&] {
      if (condition() || late) return loop.stop();
      again->arm(1ms);
    });
    again = &look;
    look.arm(1ms);
    loop.run();
    return condition();
  }
  DestinationRef known(const std::string& address = vip) {
    auto entry = lookup(address);
    EXPECT_TRUE(until([&] { return entry->state != State::pending; }));
    return entry;
  }
  std::future<std::string> ask_for_explanation(const std::string& address = vip) {
    auto promise = std::make_shared<std::promise<std::string>>();
    auto answer = promise->get_future();
    discovery->explain("shop", SocketAddress::parse(address).value(),
                       [promise](std::string json) { promise->set_value(std::move(json)); });
    return answer;
  }
  std::string explained() {
    auto answer = ask_for_explanation();
    if (answer.wait_for(10s) != std::future_status::ready) return "no explanation within 10 s";
    return answer.get();
  }
  void web_service(std::vector<std::string> endpoints) {
    control->set_profile(vip, {"web.shop.svc.cluster.local", false, "", ScriptedControl::Refusal::none});
    control->set_endpoints(web, std::move(endpoints));
  }

  Loop loop;
  Discovery::Options options;
  Pod client;
  std::unique_ptr<ScriptedControl> control;
  std::unique_ptr<Discovery> discovery;
  std::unique_ptr<Directory> directory;

  ~Discover() override { directory.reset(); }
};

TEST_F(Discover, BalancesOverTheEndpointsOfAService) {
  start_control();
  web_service({"10.1.0.1:8080", "10.1.0.2:8080=web.id"});
  start();
  const auto entry = known();
  EXPECT_EQ(entry->state, State::service);
  EXPECT_EQ(entry->authority, web);
  ASSERT_EQ(entry->balancer.endpoints().size(), 2u);
  EXPECT_EQ(entry->balancer.endpoints()[1]->info.identity, "web.id");
  EXPECT_EQ(entry->balancer.endpoints()[1]->info.hint, ProtocolHint::h2);
  EXPECT_EQ(entry->labels.at("namespace"), "shop");
  EXPECT_EQ(control->last_token(), "{\"ns\":\"shop\",\"nodeName\":\"node-1\",\"pod\":\"curl\"}");
}

TEST_F(Discover, FindsAServiceByItsNameAndNothingThatControlDoesNotKnow) {
  start_control();
  web_service({"10.1.0.1:8080=web.id"});
  control->set_profile(web, {"web.shop.svc.cluster.local", false, "", ScriptedControl::Refusal::none});
  control->set_profile("example.com:80", {"", false, "", ScriptedControl::Refusal::invalid});
  start();
  const auto entry = directory->lookup(client, "web.shop.svc.cluster.local", 80);
  EXPECT_NE(entry, lookup()) << "its address is another entry";
  ASSERT_TRUE(until([&] { return entry->state == State::service && !entry->balancer.empty(); }));
  EXPECT_EQ(entry->authority, web);
  for (const char* name : {"example.com", "gone.shop.svc.cluster.local"}) {
    const auto unknown = directory->lookup(client, name, 80);
    ASSERT_TRUE(until([&] { return unknown->state != State::pending; })) << name;
    EXPECT_EQ(unknown->state, State::not_found) << name;
    EXPECT_FALSE(unknown->unavailable) << name;
  }
}

TEST_F(Discover, CallsBackWhoWaits) {
  start_control();
  web_service({"10.1.0.1:8080"});
  start();
  const auto entry = lookup();
  int called = 0;
  bool inside = true;
  const auto waiter = directory->when_known(entry, [&] {
    EXPECT_FALSE(inside);
    ++called;
  });
  auto cancelled = directory->when_known(entry, [&] { FAIL() << "called although cancelled"; });
  cancelled.reset();
  inside = false;
  EXPECT_TRUE(until([&] { return called > 0; }));
  int again = 0;
  const auto second = directory->when_known(entry, [&] { ++again; });
  EXPECT_EQ(again, 0);
  EXPECT_TRUE(until([&] { return again > 0; }));
  EXPECT_EQ(called, 1);
}

TEST_F(Discover, FollowsChangesAndKeepsTheLoadOfEndpoints) {
  start_control();
  web_service({"10.1.0.1:8080", "10.1.0.2:8080"});
  start();
  const auto entry = known();
  const auto kept = entry->balancer.endpoints()[1];
  kept->pending = 5;
  entry->server_speaks_first = true;
  control->send_add(web, {"10.1.0.3:8080"});
  control->send_remove(web, {"10.1.0.1:8080"});
  ASSERT_TRUE(until(
      [&] { return entry->balancer.endpoints().size() == 2 && entry->balancer.endpoints()[0] == kept; }));
  EXPECT_EQ(kept->pending, 5u);
  EXPECT_FALSE(entry->server_speaks_first);
}

TEST_F(Discover, SharesOneStreamBetweenWorkersAndLookups) {
  start_control();
  web_service({"10.1.0.1:8080"});
  start();
  const auto entry = known();
  EXPECT_EQ(lookup(), entry);
  Loop other;
  auto second = discovery->make_directory(other);
  const auto theirs = second->lookup(client, SocketAddress::parse(vip).value());
  std::thread runs([&] { other.run(); });
  EXPECT_NE(theirs, entry);
  EXPECT_TRUE(heddle::test::eventually([this] {
    return discovery->state_json().find("\"workers\":2") != std::string::npos;
  })) << discovery->state_json();
  EXPECT_EQ(control->profile_calls(vip), 1);
  EXPECT_EQ(control->get_calls(web), 1);
  other.post([&] {
    EXPECT_EQ(theirs->state, State::service);
    other.stop();
  });
  runs.join();
  second.reset();
}

TEST_F(Discover, TakesAPodsAddressWithItsIdentity) {
  start_control();
  control->set_profile("10.1.0.9:8080", {"", false, "web.id", ScriptedControl::Refusal::none});
  start();
  const auto entry = known("10.1.0.9:8080");
  EXPECT_EQ(entry->state, State::endpoint);
  EXPECT_EQ(entry->endpoint->info.identity, "web.id");
  EXPECT_EQ(entry->endpoint->info.address.to_string(), "10.1.0.9:8080");
}

TEST_F(Discover, PassesWhatControlDoesNotKnowToTheAddressItself) {
  start_control();
  control->set_profile("192.0.2.1:443", {"", false, "", ScriptedControl::Refusal::not_found});
  control->set_profile("192.0.2.2:443", {"", false, "", ScriptedControl::Refusal::invalid});
  start();
  for (const char* address : {"192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"}) {
    const auto entry = known(address);
    EXPECT_EQ(entry->state, State::endpoint) << address;
    EXPECT_EQ(entry->endpoint->info.address.to_string(), address);
    EXPECT_EQ(entry->endpoint->info.identity, "");
  }
  // It may become something later.
  control->set_profile("192.0.2.1:443", {"", false, "new.pod", ScriptedControl::Refusal::none});
  const auto entry = lookup("192.0.2.1:443");
  EXPECT_TRUE(until([&] { return entry->endpoint->info.identity == "new.pod"; }));
}

TEST_F(Discover, RefusesAServiceThatIsGone) {
  start_control();
  web_service({"10.1.0.1:8080"});
  start();
  const auto entry = known();
  control->send_no_endpoints(web, true);
  EXPECT_TRUE(until([&] { return entry->state == State::service && entry->balancer.empty(); }));
  control->send_no_endpoints(web, false);
  EXPECT_TRUE(until([&] { return entry->state == State::not_found; }));
  EXPECT_FALSE(entry->unavailable);
}

TEST_F(Discover, KeepsWhatItKnowsWhileControlIsAwayAndReplacesItAfterwards) {
  start_control();
  const int port = control->port();
  web_service({"10.1.0.1:8080", "10.1.0.2:8080"});
  start();
  const auto entry = known();
  control.reset();
  EXPECT_TRUE(
      until([&] { return discovery->state_json().find("\"connected\":false") != std::string::npos; }));
  EXPECT_EQ(entry->balancer.endpoints().size(), 2u);
  EXPECT_EQ(lookup()->state, State::service);
  start_control(port);
  web_service({"10.1.0.3:8080"});
  ASSERT_TRUE(until([&] { return entry->balancer.endpoints().size() == 1; }));
  EXPECT_EQ(entry->balancer.endpoints()[0]->info.address.to_string(), "10.1.0.3:8080");
}

TEST_F(Discover, RefusesUnknownAddressesWhileControlIsAway) {
  options.address = "127.0.0.1:1";
  options.answer_timeout = 100ms;
  start();
  const auto entry = lookup();
  bool ready = false;
  const auto waiter = directory->when_known(entry, [&] { ready = true; });
  ASSERT_TRUE(until([&] { return ready; }));
  EXPECT_EQ(entry->state, State::not_found);
  EXPECT_TRUE(entry->unavailable);
  EXPECT_NE(explained().find("\"unavailable\":true"), std::string::npos);
}

TEST_F(Discover, RecoversWhenControlAnswersAtLast) {
  start_control();
  const int port = control->port();
  control.reset();
  options.address = "127.0.0.1:" + std::to_string(port);
  options.answer_timeout = 50ms;
  start();
  const auto entry = lookup();
  ASSERT_TRUE(until([&] { return entry->unavailable; }));
  start_control(port);
  web_service({"10.1.0.1:8080"});
  EXPECT_TRUE(until([&] { return entry->state == State::service; }));
  EXPECT_FALSE(entry->unavailable);
}

TEST_F(Discover, TreatsASilentGetAsAnEmptyService) {
  start_control();
  control->set_profile(vip, {"web.shop.svc.cluster.local", false, "", ScriptedControl::Refusal::none});
  options.answer_timeout = 100ms;
  start();
  const auto entry = known();
  EXPECT_EQ(entry->state, State::service);
  EXPECT_TRUE(entry->balancer.empty());
}

TEST_F(Discover, ForgetsWhatNobodyUses) {
  start_control();
  web_service({"10.1.0.1:8080"});
  options.idle = 100ms;
  start();
  {
    const auto entry = known();
    ASSERT_TRUE(until([&] { return control->open_streams() == 2; }));
    Timer timer(loop, [&] { loop.stop(); });
    timer.arm(300ms);
    loop.run();
    EXPECT_EQ(control->open_streams(), 2) << "forgotten while in use";
  }
  EXPECT_TRUE(until([&] { return control->open_streams() == 0; }));
  EXPECT_EQ(discovery->state_json().find(vip), std::string::npos) << discovery->state_json();
  // An explanation asks again, and leaves nothing behind.
  EXPECT_NE(explained().find("\"state\":\"service\""), std::string::npos);
  EXPECT_TRUE(until([&] { return discovery->state_json().find(vip) == std::string::npos; }));
}

TEST_F(Discover, ExplainsToAllWhoAskedOnceControlAnswersAndHoldsNobodyUp) {
  start_control();
  const int port = control->port();
  control.reset();
  options.address = "127.0.0.1:" + std::to_string(port);
  options.answer_timeout = 20s;
  start();
  auto first = ask_for_explanation();
  auto second = ask_for_explanation();
  EXPECT_NE(first.wait_for(0s), std::future_status::ready) << "control is away";
  start_control(port);
  web_service({"10.1.0.1:8080"});
  for (auto* answer : {&first, &second}) {
    ASSERT_EQ(answer->wait_for(10s), std::future_status::ready);
    const auto json = answer->get();
    EXPECT_NE(json.find("\"state\":\"service\""), std::string::npos) << json;
    EXPECT_NE(json.find("\"workers\":0"), std::string::npos) << json << ": nobody has dialled it";
  }
  EXPECT_TRUE(until([&] { return discovery->state_json().find(vip) == std::string::npos; }));
}

TEST_F(Discover, OwesNoExplanationOnceItIsGone) {
  start_control();
  control->set_profile(vip, {"", false, "", ScriptedControl::Refusal::silent});
  start();
  auto owed = ask_for_explanation();
  ASSERT_TRUE(until([&] { return control->profile_calls(vip) == 1; }));
  directory.reset();
  discovery.reset();
  EXPECT_THROW(owed.get(), std::future_error) << "the reply was dropped, not called";
}

TEST_F(Discover, LimitsTheNumberOfEntries) {
  start_control();
  options.max_entries = 3;
  start();
  std::vector<DestinationRef> entries;
  for (int i = 1; i <= 4; ++i) entries.push_back(lookup("192.0.2." + std::to_string(i) + ":80"));
  EXPECT_EQ(entries[3]->state, State::not_found);
  EXPECT_TRUE(until([&] { return entries[2]->state == State::endpoint; }));
}

TEST_F(Discover, ForgetsTheOldestAddressesWhenTooManyAreDialled) {
  start_control();
  options.max_entries = 3;
  start();
  const auto kept = lookup("192.0.2.1:80");
  for (int i = 2; i <= 20; ++i) {
    const auto scanned = lookup("192.0.2." + std::to_string(i) + ":80");
    EXPECT_FALSE(scanned->unavailable) << i << ": nobody uses the earlier ones any more";
  }
  EXPECT_EQ(lookup("192.0.2.1:80"), kept) << "a connection uses it";
  EXPECT_TRUE(until([&] {
    const auto state = discovery->state_json();
    return state.find("192.0.2.20:80") != std::string::npos &&
           state.find("192.0.2.2:80") == std::string::npos;
  })) << discovery->state_json();
}

TEST_F(Discover, FindsControlBeforeAnybodyAsks) {
  start_control();
  start();
  std::atomic<bool> told{false};
  discovery->on_first_answer([&] { told = true; });
  EXPECT_TRUE(until([&] { return told.load(); }));
}

TEST_F(Discover, VerifiesControlsIdentity) {
  const std::string name = "heddle-control.heddle.serviceaccount.identity.heddle.cluster.local";
  test::Authority authority;
  const std::string path = testing::TempDir() + "discovery-anchors-" + std::to_string(::getpid()) + ".pem";
  std::ofstream(path) << authority.root_pem();
  options.trust_anchors = path;
  options.server_name = name;
  options.answer_timeout = 500ms;
  const auto run = [&](const std::string& certified) {
    test::Authority::Leaf leaf;
    leaf.names = {certified};
    const auto pair = authority.issue(leaf);
    const ScriptedControl::Tls tls{pair.key_pem, pair.certificate_pem};
    control = std::make_unique<ScriptedControl>(0, &tls);
    options.address.clear();
    start();
    const auto entry = known("192.0.2.1:80");
    const bool answered = !entry->unavailable;
    directory.reset();
    discovery.reset();
    return answered;
  };
  EXPECT_TRUE(run(name));
  EXPECT_FALSE(run("somebody-else.heddle.cluster.local"));
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace heddle::proxy
