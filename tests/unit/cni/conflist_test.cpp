// SPDX-License-Identifier: Apache-2.0
#include "cni/conflist.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

namespace heddle::cni {
namespace {

constexpr std::string_view calico = R"({
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "mtu": 0, "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}
    },
    {
      "type": "portmap",
      "capabilities": {"portMappings": true}
    }
  ]
}
)";

std::vector<std::string> types(const std::string& list) {
  std::vector<std::string> out;
  const auto parsed = boost::json::parse(list);  // named: a temporary would be gone before the loop
  for (const auto& plugin : parsed.at("plugins").as_array()) {
    out.emplace_back(plugin.at("type").as_string());
  }
  return out;
}

TEST(Conflist, BecomesTheLastPluginAndChangesNothingElse) {
  const std::string entry = entry_text({});
  const auto added = add_plugin(calico, entry);
  ASSERT_TRUE(added) << added.error().message();
  std::string expected(calico);
  expected.insert(expected.find("\n  ]\n}"), ",\n    " + entry);
  EXPECT_EQ(*added, expected);
}

TEST(Conflist, WritesItsEntryAsTheDocumentationShowsIt) {
  EXPECT_EQ(
      entry_text({}),
      R"({"type":"heddle-cni","runDir":"/run/heddle","capabilities":{"io.kubernetes.cri.pod-annotations":true}})");
  EXPECT_EQ(
      entry_text({"/r", "/l"}),
      R"({"type":"heddle-cni","runDir":"/r","logFile":"/l","capabilities":{"io.kubernetes.cri.pod-annotations":true}})");
}

TEST(Conflist, IsLeftAloneWhenItHasTheEntryAlready) {
  const auto once = add_plugin(calico, entry_text({}));
  const auto twice = add_plugin(*once, entry_text({}));
  ASSERT_TRUE(twice);
  EXPECT_EQ(*twice, *once);
}

TEST(Conflist, ReplacesAnOlderEntryInPlace) {
  const std::string old =
      R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"},{"type":"heddle-cni"},{"type":"x"}]})";
  const auto added = add_plugin(old, entry_text({}));
  ASSERT_TRUE(added);
  EXPECT_EQ(types(*added), (std::vector<std::string>{"bridge", "heddle-cni", "x"}));
  EXPECT_NE(added->find("runDir"), std::string::npos);
}

TEST(Conflist, KeepsTheKeysThatSomebodyAddedToTheEntry) {
  const std::string edited =
      R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"},{"timeoutMs":20000,"type":"heddle-cni"}]})";
  const auto added = add_plugin(edited, entry_text({}));
  ASSERT_TRUE(added);
  EXPECT_NE(added->find(R"("timeoutMs":20000)"), std::string::npos) << *added;
  EXPECT_NE(added->find("runDir"), std::string::npos);
  EXPECT_EQ(*add_plugin(*added, entry_text({})), *added) << "with --watch it would be rewritten for ever";
  const auto logged = add_plugin(*added, entry_text({"/other", "/log"}));
  EXPECT_NE(logged->find("/other"), std::string::npos);
  EXPECT_EQ(add_plugin(*logged, entry_text({}))->find("logFile"), std::string::npos) << "one of our own keys";
}

TEST(Conflist, MovesAnEntryThatIsFirstAndMergesSeveral) {
  for (
      const char* old :
      {R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"heddle-cni"},{"type":"bridge"}]})",
       R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"} , {"type":"heddle-cni"},{"type":"heddle-cni"}]})",
       R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"heddle-cni"},{"type":"heddle-cni"},{"type":"bridge"},{"type":"heddle-cni"}]})"}) {
    const auto added = add_plugin(old, entry_text({}));
    ASSERT_TRUE(added) << added.error().message();
    EXPECT_EQ(types(*added), (std::vector<std::string>{"bridge", "heddle-cni"})) << *added;
  }
}

TEST(Conflist, IsRefusedWithAReasonWhenItCannotBeEditedSafely) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"cniVersion":"1.0.0"})", R"({"cniVersion":"1.0.0","plugins":[]})",
        R"({"cniVersion":"1.0.0","plugins":{}})", R"({"cniVersion":"1.0.0","plugins":[1]})",
        R"({"cniVersion":"0.2.0","plugins":[{"type":"bridge"}]})", R"({"plugins":[{"type":"bridge"}]})",
        R"({"cniVersion":"1.0.0","plugins":[{"type":"heddle-cni"}]})"}) {
    const auto added = add_plugin(text, entry_text({}));
    ASSERT_FALSE(added) << text;
    EXPECT_GT(added.error().detail.size(), 10u) << text;
  }
}

TEST(Conflist, AcceptsAListThatOffersSeveralVersions) {
  EXPECT_TRUE(add_plugin(R"({"cniVersions":["1.0.0","1.1.0"],"name":"n","plugins":[{"type":"bridge"}]})",
                         entry_text({})));
}

// Random lists in random spelling: what was added comes out without a trace.
TEST(Conflist, GivesTheSameBytesBackAfterAddingAndRemoving) {
  std::mt19937 random(20251120);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto space = [&] {
    constexpr std::array<const char*, 6> spaces{"", " ", "\n", "\n\t", "  ", "\r\n    "};
    return std::string(spaces[static_cast<std::size_t>(pick(6))]);
  };
  for (int round = 0; round < 2000; ++round) {
    std::string plugins;
    const int count = 1 + pick(5);
    for (int i = 0; i < count; ++i) {
      if (i > 0) plugins += space() + "," + space();
      plugins += "{" + space() + "\"type\"" + space() + ":" + space() + "\"p" + std::to_string(i) + "\"" +
                 space() + ",\"odd\":\"]}\\\"," + std::to_string(pick(99)) +
                 "\",\"n\":" + std::to_string(pick(9)) + ".50" + "}";
    }
    std::string list = space() + "{" + space() + "\"cniVersion\":\"1.0.0\"" + space() +
                       ",\"plugins\":" + space() + "[" + space() + plugins + space() + "]" + space() +
                       ",\"name\":\"n\"" + space() + "}" + space();
    const auto added = add_plugin(list, entry_text({}));
    ASSERT_TRUE(added) << list;
    EXPECT_EQ(types(*added).back(), "heddle-cni");
    const auto removed = remove_plugin(*added);
    ASSERT_TRUE(removed) << *added;
    ASSERT_EQ(*removed, list);
  }
}

TEST(Conflist, KeepsASingleConfigurationVerbatimInItsList) {
  constexpr std::string_view conf = R"({
  "cniVersion": "0.4.0", "name": "n\"1", "type": "bridge", "ipam": {"type":"host-local"}
}
)";
  const auto list = list_from_conf(conf);
  ASSERT_TRUE(list) << list.error().message();
  const auto parsed = boost::json::parse(*list);
  EXPECT_EQ(parsed.at("cniVersion"), "0.4.0");
  EXPECT_EQ(parsed.at("name"), "n\"1");
  EXPECT_EQ(parsed.at("plugins").at(0), boost::json::parse({conf.data(), conf.size()}));
  const auto added = add_plugin(*list, entry_text({}));
  ASSERT_TRUE(added);
  EXPECT_EQ(*remove_plugin(*added), *list);
}

TEST(Conflist, GivesAListAVersionWhenTheSingleConfigurationHadNone) {
  const auto list = list_from_conf(R"({"name":"n","type":"bridge"})");
  ASSERT_TRUE(list);
  EXPECT_EQ(boost::json::parse(*list).at("cniVersion"), "0.3.1");
}

TEST(Conflist, RefusesSingleConfigurationsThatRuntimesWouldRefuse) {
  for (const char* conf :
       {"", "[]", R"({"type":"bridge"})", R"({"name":"n"})", R"({"name":"n","type":"heddle-cni"})"}) {
    EXPECT_FALSE(list_from_conf(conf)) << conf;
  }
}

TEST(Conflist, NamesNamespacesOnlyWhereTheyAreNotThePluginsOwnDefaults) {
  PluginEntry entry;
  EXPECT_EQ(entry_text(entry).find("amespace"), std::string::npos);
  entry.control_namespace = "mesh";
  entry.excluded_namespaces = {"kube-system", "storage"};
  const std::string list = R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"}]})";
  const auto chained = add_plugin(list, entry_text(entry));
  ASSERT_TRUE(chained);
  EXPECT_NE(chained->find(R"("controlNamespace":"mesh","excludedNamespaces":["kube-system","storage"])"),
            std::string::npos)
      << *chained;
  // The plugin reads what the installer writes.
  const std::string conf = R"({"cniVersion":"1.0.0","name":"n",)" + entry_text(entry).substr(1);
  const auto config = parse_config(conf);
  ASSERT_TRUE(config) << config.error().details;
  EXPECT_EQ(config->control_namespace, "mesh");
  EXPECT_EQ(config->excluded_namespaces, entry.excluded_namespaces);
  // And back to the defaults.
  const auto plain = add_plugin(*chained, entry_text(PluginEntry()));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->find("amespace"), std::string::npos) << *plain;
}

}  // namespace
}  // namespace heddle::cni
