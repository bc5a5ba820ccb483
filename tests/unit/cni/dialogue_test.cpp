// SPDX-License-Identifier: Apache-2.0
#include "cni/dialogue.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

NetworkConfig config_of(Version version) {
  NetworkConfig out;
  out.version = version;
  out.name = "net";
  out.prev_result = R"({"cniVersion":"1.0.0","ips":[]})";
  out.valid_attachments.emplace();
  return out;
}

Environment environment_of(Command command) {
  Environment out;
  out.command = command;
  out.container_id = "c1";
  out.netns = "/run/netns/p";
  out.ifname = "eth0";
  return out;
}

TEST(Dialogue, OffersEachCommandFromTheVersionThatIntroducedIt) {
  struct Row {
    Command command;
    Version first;
  };
  for (const Row& row : std::vector<Row>{{Command::add, Version::v0_3_1},
                                         {Command::del, Version::v0_3_1},
                                         {Command::check, Version::v0_4_0},
                                         {Command::gc, Version::v1_1_0},
                                         {Command::status, Version::v1_1_0}}) {
    for (const Version version : {Version::v0_3_1, Version::v0_4_0, Version::v1_0_0, Version::v1_1_0}) {
      const auto request = make_request(environment_of(row.command), config_of(version));
      EXPECT_EQ(request.has_value(), version >= row.first)
          << name_of(row.command) << " " << supported_versions[static_cast<std::size_t>(version)];
      if (!request) {
        EXPECT_EQ(request.error().code, 1u);
      }
    }
  }
}

TEST(Dialogue, TellsTheAgentEverythingItKnows) {
  Environment environment = environment_of(Command::add);
  environment.pod = {"shop", "web-1", "u-1"};
  NetworkConfig config = config_of(Version::v1_1_0);
  config.ips = {"10.0.0.5", "fd00::5"};
  config.pod_annotations = {{"linkerd.io/inject", "enabled"}};
  const auto request = make_request(environment, config);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->command(), node::CniRequest::ADD);
  EXPECT_EQ(request->container_id(), "c1");
  EXPECT_EQ(request->netns(), "/run/netns/p");
  EXPECT_EQ(request->ifname(), "eth0");
  EXPECT_EQ(request->pod_namespace() + "/" + request->pod_name() + "/" + request->pod_uid(),
            "shop/web-1/u-1");
  EXPECT_EQ(request->network(), "net");
  ASSERT_EQ(request->ips_size(), 2);
  EXPECT_EQ(request->ips(1), "fd00::5");
  EXPECT_EQ(request->pod_annotations().at("linkerd.io/inject"), "enabled");
}

TEST(Dialogue, RefusesToBeFirstInAChain) {
  NetworkConfig config = config_of(Version::v1_1_0);
  config.prev_result.reset();
  for (const Command command : {Command::add, Command::check}) {
    const auto request = make_request(environment_of(command), config);
    ASSERT_FALSE(request);
    EXPECT_EQ(request.error().code, 7u);
  }
  EXPECT_TRUE(make_request(environment_of(Command::del), config));
}

TEST(Dialogue, RefusesAGcThatWouldReleaseEverything) {
  NetworkConfig config = config_of(Version::v1_1_0);
  config.valid_attachments.reset();
  const auto request = make_request(environment_of(Command::gc), config);
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().code, 7u);
}

TEST(Dialogue, PrintsThePreviousResultOnlyForAdd) {
  const NetworkConfig config = config_of(Version::v1_0_0);
  const auto added = read_reply(Command::add, config, {});
  ASSERT_TRUE(added);
  EXPECT_EQ(*added, *config.prev_result + "\n");
  for (const Command command : {Command::del, Command::check, Command::gc, Command::status}) {
    const auto done = read_reply(command, config, {});
    ASSERT_TRUE(done);
    EXPECT_EQ(*done, "");
  }
}

TEST(Dialogue, AddsTheVersionToAResultThatLacksIt) {
  NetworkConfig config = config_of(Version::v0_4_0);
  config.prev_result = R"({"ips":[],"dns":{}})";
  EXPECT_EQ(*read_reply(Command::add, config, {}), R"({"cniVersion":"0.4.0","ips":[],"dns":{}})"
                                                   "\n");
  config.prev_result = "{ }";
  EXPECT_EQ(*read_reply(Command::add, config, {}), R"({"cniVersion":"0.4.0" })"
                                                   "\n");
}

TEST(Dialogue, PassesTheAgentsRefusalOn) {
  node::CniReply reply;
  reply.set_code(101);
  reply.set_msg("no hook");
  reply.set_details("use iptables");
  for (const Command command : {Command::add, Command::check, Command::gc, Command::status}) {
    const auto outcome = read_reply(command, config_of(Version::v1_1_0), reply);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, 101u);
    EXPECT_EQ(outcome.error().msg, "no hook");
    EXPECT_EQ(outcome.error().details, "use iptables");
  }
}

TEST(Dialogue, LetsADelSucceedWhileTheAgentStarts) {
  node::CniReply reply;
  reply.set_code(11);
  EXPECT_TRUE(read_reply(Command::del, config_of(Version::v1_1_0), reply));
  EXPECT_FALSE(read_reply(Command::add, config_of(Version::v1_1_0), reply));
}

TEST(Dialogue, MapsAnAbsentAgentToTheSpecificationsCodes) {
  const NetworkConfig config = config_of(Version::v1_1_0);
  const std::vector<Error> away{make_errno(ENOENT), make_errno(ECONNREFUSED), make_errno(EAGAIN),
                                make_error(Errc::timeout), make_error(Errc::closed)};
  for (const Error& error : away) {
    EXPECT_EQ(without_agent(Command::add, config, error).error().code, 11u) << error.message();
    EXPECT_EQ(without_agent(Command::check, config, error).error().code, 11u);
    EXPECT_EQ(without_agent(Command::gc, config, error).error().code, 11u);
    EXPECT_TRUE(without_agent(Command::status, config, error));
    EXPECT_TRUE(without_agent(Command::del, config, error));
  }
  EXPECT_EQ(without_agent(Command::add, config, make_errno(EACCES)).error().code, 5u);
  EXPECT_EQ(without_agent(Command::add, config, make_error(Errc::protocol)).error().code, 110u);
  EXPECT_EQ(without_agent(Command::add, config, make_error(Errc::invalid_argument, "long path")).error().code,
            7u);
}

TEST(Dialogue, PrintsFailuresAsTheSpecificationHasThem) {
  const Answer answer = failure_answer({11, "a \"quoted\" thing", "do\nthis"}, "0.4.0");
  EXPECT_NE(answer.exit_status, 0);
  const auto parsed = boost::json::parse(answer.output).as_object();
  EXPECT_EQ(parsed.at("cniVersion"), "0.4.0");
  EXPECT_EQ(parsed.at("code").to_number<int>(), 11);
  EXPECT_EQ(parsed.at("msg"), "a \"quoted\" thing");
  EXPECT_EQ(parsed.at("details"), "do\nthis");
}

TEST(Dialogue, ListsItsVersions) {
  EXPECT_EQ(version_answer(R"({"cniVersion":"0.4.0"})").output,
            R"({"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]})"
            "\n");
  EXPECT_EQ(version_answer("").exit_status, 0);
}

}  // namespace
}  // namespace heddle::cni
