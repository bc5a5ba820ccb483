// SPDX-License-Identifier: Apache-2.0
// The issuer in a Secret, against an API server that keeps what it is given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/io/file.h"
#include "control/certify/issuer_secret.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"
#include "tests/unit/control/scratch_folder.h"

namespace heddle::control {
namespace {

using test::ScriptedApi;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string secrets = "/api/v1/namespaces/heddle/secrets";
const std::string configmaps = "/api/v1/namespaces/heddle/configmaps";
const std::string secret = secrets + "/heddle-identity-issuer";

class IssuerInASecret : public ::testing::Test {
 protected:
  IssuerInASecret() {
    ::signal(SIGPIPE, SIG_IGN);
    source::kubernetes::Access access;
    access.host = "127.0.0.1";
    access.port = api_.port();
    access.server_name = "kubernetes";
    access.authority.text = authority_.root_pem();
    caller_ = std::make_unique<source::kubernetes::Caller>(std::move(access));
  }
  static IssuerSecretOptions options(const std::string& folder) {
    IssuerSecretOptions out;
    out.ns = "heddle";
    out.trust_domain = "cluster.local";
    out.folder = folder;
    return out;
  }
  std::unique_ptr<IssuerSecret> replica(const std::string& folder) {
    return std::make_unique<IssuerSecret>(*caller_, options(folder_.file(folder)));
  }
  static std::string text(const std::string& path) {
    const auto read = read_file(path);
    return read ? *read : "";
  }
  static Result<std::shared_ptr<const Authority>> authority_of(const IssuerSecret& issuer,
                                                               Clock::time_point now = Clock::now()) {
    return Authority::load(
        {text(issuer.certificate_path()), text(issuer.key_path()), text(issuer.trust_anchors_path())}, {},
        now);
  }
  void give(const IssuerSecretContent& content) {
    api_.keep(secret, issuer_secret_object("heddle", "heddle-identity-issuer", content));
  }

  test::Authority authority_;
  ScriptedApi api_{authority_};
  test::ScratchFolder folder_;
  std::unique_ptr<source::kubernetes::Caller> caller_;
};

TEST_F(IssuerInASecret, IsMadeOnceForAllReplicas) {
  const auto first = replica("a");
  const auto fetched = first->fetch();
  ASSERT_TRUE(fetched) << fetched.error().message();
  EXPECT_TRUE(authority_of(*first));
  ASSERT_EQ(api_.bodies("POST " + secrets).size(), 1U);
  ASSERT_EQ(api_.bodies("POST " + configmaps).size(), 1U);
  const auto second = replica("b");
  ASSERT_TRUE(second->fetch());
  EXPECT_EQ(text(second->certificate_path()), text(first->certificate_path()));
  EXPECT_EQ(text(second->trust_anchors_path()), text(first->trust_anchors_path()));
  EXPECT_EQ(api_.bodies("POST " + secrets).size(), 1U);
}

TEST_F(IssuerInASecret, IsTheOtherReplicasWhereThatOneWasFirst) {
  const Root root = make_root("cluster.local").value();
  const Issuer issuer = make_issuer(root, "issuer").value();
  give({issuer.certificate, issuer.key, root.certificate, {}, {}});
  api_.answer_next(secret, {"404 Not Found", "", "{}"});
  api_.answer_next("/secrets", {"409 Conflict", "", "{}"});
  const auto mine = replica("a");
  const auto fetched = mine->fetch();
  ASSERT_TRUE(fetched) << fetched.error().message();
  EXPECT_EQ(text(mine->certificate_path()), issuer.certificate);
}

TEST_F(IssuerInASecret, StaysAsItIsWhenTheNewOneIsNoGoodOrTheApiServerAway) {
  const auto mine = replica("a");
  ASSERT_TRUE(mine->fetch());
  const auto before = text(mine->certificate_path());
  const Root other = make_root("cluster.local").value();
  const Issuer stranger = make_issuer(other, "issuer").value();
  give({stranger.certificate, stranger.key, other.certificate, {}, {}});
  const auto refused = mine->fetch();
  ASSERT_FALSE(refused) << "its root is not among the trust anchors";
  EXPECT_THAT(refused.error().message(), Not(HasSubstr("PRIVATE")));
  EXPECT_EQ(text(mine->certificate_path()), before);
  api_.stop();
  EXPECT_FALSE(mine->fetch());
  EXPECT_EQ(text(mine->certificate_path()), before);
  EXPECT_TRUE(authority_of(*mine));
}

TEST_F(IssuerInASecret, IsTakenUpWhenItIsReplacedUnderAKnownRoot) {
  const Root root = make_root("cluster.local").value();
  const Issuer first = make_issuer(root, "issuer").value();
  const Issuer next = make_issuer(root, "issuer").value();
  give({first.certificate, first.key, root.certificate, {}, {}});
  const auto mine = replica("a");
  ASSERT_TRUE(mine->fetch());
  give({next.certificate, next.key, root.certificate, {}, {}});
  ASSERT_TRUE(mine->fetch());
  EXPECT_EQ(text(mine->certificate_path()), next.certificate);
  EXPECT_TRUE(authority_of(*mine));
}

TEST_F(IssuerInASecret, IsRenewedInTimeWhereHeddleMadeTheRoot) {
  const auto mine = replica("a");
  ASSERT_TRUE(mine->fetch());
  const auto before = text(mine->certificate_path());
  const auto later = Clock::now() + std::chrono::hours(24 * 300);
  ASSERT_TRUE(mine->fetch(later));
  ASSERT_EQ(api_.bodies("PUT " + secret).size(), 1U);
  ASSERT_TRUE(mine->fetch(later));
  EXPECT_NE(text(mine->certificate_path()), before);
  EXPECT_TRUE(authority_of(*mine, later));
  EXPECT_EQ(api_.bodies("PUT " + secret).size(), 1U);
}

TEST_F(IssuerInASecret, IsNotReplacedWhereItsRootIsSomebodyElses) {
  const Root root = make_root("cluster.local").value();
  const Issuer issuer = make_issuer(root, "issuer").value();
  give({issuer.certificate, issuer.key, root.certificate, {}, {}});
  const auto mine = replica("a");
  ASSERT_TRUE(mine->fetch(Clock::now() + std::chrono::hours(24 * 300)));
  EXPECT_TRUE(api_.bodies("PUT " + secret).empty());
}

// Looking now and then finds nothing here: it would be an hour late.
TEST_F(IssuerInASecret, IsTakenUpAsSoonAsTheApiServerTellsOfAnother) {
  const Root root = make_root("cluster.local").value();
  const auto issuer = [&] { return make_issuer(root, "issuer").value(); };
  const Issuer first = issuer();
  give({first.certificate, first.key, root.certificate, {}, {}});
  auto with = options(folder_.file("a"));
  with.interval = with.interval_while_told = std::chrono::hours(1);
  IssuerSecret mine(*caller_, with);
  ASSERT_TRUE(mine.fetch());
  mine.start();
  for (int i = 0; i < 3; ++i) {
    const Issuer next = issuer();
    give({next.certificate, next.key, root.certificate, {}, {}});
    ASSERT_TRUE(test::eventually([&] { return text(mine.certificate_path()) == next.certificate; }));
    api_.cut_connections();  // what comes before the next watch began is found by that
  }
  const Root another = make_root("cluster.local").value();
  api_.keep(configmaps + "/heddle-trust-anchors",
            trust_anchors_object("heddle", "heddle-trust-anchors", root.certificate + another.certificate));
  EXPECT_TRUE(test::eventually(
      [&] { return text(mine.trust_anchors_path()).find(another.certificate) != std::string::npos; }));
}

TEST_F(IssuerInASecret, IsLookedForNowAndThenWhereWatchingIsNotAllowed) {
  for (int i = 0; i < 20; ++i) {
    api_.answer_next("fieldSelector=metadata.name", {"403 Forbidden", "", R"({"message":"forbidden"})"});
  }
  const Root root = make_root("cluster.local").value();
  const Issuer first = make_issuer(root, "issuer").value();
  const Issuer next = make_issuer(root, "issuer").value();
  give({first.certificate, first.key, root.certificate, {}, {}});
  auto with = options(folder_.file("a"));
  with.interval = std::chrono::seconds(1);
  with.interval_while_told = std::chrono::hours(1);
  IssuerSecret mine(*caller_, with);
  ASSERT_TRUE(mine.fetch());
  mine.start();
  ASSERT_TRUE(test::eventually([&] { return api_.requests("fieldSelector=metadata.name") == 2; }));
  give({next.certificate, next.key, root.certificate, {}, {}});
  EXPECT_TRUE(test::eventually([&] { return text(mine.certificate_path()) == next.certificate; }));
  EXPECT_EQ(api_.requests("fieldSelector=metadata.name"), 2U) << "what is refused is not asked again soon";
}

TEST_F(IssuerInASecret, SaysWhichRightIsMissing) {
  api_.answer_next(secret, {"403 Forbidden", "", R"({"message":"secrets is forbidden"})"});
  const auto refused = replica("a")->fetch();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, make_error_code(Errc::permission_denied));
  EXPECT_THAT(refused.error().message(), HasSubstr("secrets is forbidden"));
}

}  // namespace
}  // namespace heddle::control
