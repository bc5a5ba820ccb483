// SPDX-License-Identifier: Apache-2.0
// The installer beside the configurations that common networks write (networks/: our own, in their shape).
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/io/file.h"
#include "cni/conf_folder.h"
#include "cni/installer.h"

namespace heddle::cni {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* other = R"({"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]})";

std::string text_of(const std::string& path) {
  return read_file(path).value();
}

// Name -> mode and bytes.
using Contents = std::map<std::string, std::pair<mode_t, std::string>>;
Contents contents(const std::string& folder) {
  Contents out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    struct stat info{};
    ::stat(entry.path().c_str(), &info);
    out[entry.path().filename()] = {info.st_mode & 07777, text_of(entry.path())};
  }
  return out;
}

class Networks : public testing::TestWithParam<const char*> {
 protected:
  Networks() {
    std::string pattern = (fs::temp_directory_path() / "heddle-networks-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    options_.conf_dir = root_ + "/net.d";
    options_.bin_dir.clear();
    fs::create_directories(options_.conf_dir);
    original_ = text_of(std::string(HEDDLE_SOURCE_DIR) + "/tests/unit/cni/networks/" + GetParam());
    put(GetParam(), original_, 0600);
    put("90-other.conflist", other, 0644);
    put("calico-kubeconfig", "not for the runtime", 0600);
  }
  ~Networks() override { fs::remove_all(root_); }

  void put(const std::string& name, const std::string& text, mode_t mode) const {
    ASSERT_TRUE(write_file_atomically(options_.conf_dir + "/" + name, text, mode));
  }
  // What containerd, CRI-O and podman would load: the first by name.
  std::string runtimes_choice() const {
    std::vector<std::string> names;
    for (const auto& [name, file] : contents(options_.conf_dir)) {
      if (name.ends_with(".conf") || name.ends_with(".conflist") || name.ends_with(".json"))
        names.push_back(name);
    }
    return *std::min_element(names.begin(), names.end());
  }
  // The main network's plugins, as values.
  json::array plugins() const {
    const auto parsed = json::parse(original_);
    return is_list(GetParam()) ? parsed.at("plugins").as_array() : json::array{parsed};
  }
  void expect_chained(const std::string& name) const {
    const auto chained = json::parse(contents(options_.conf_dir).at(name).second);
    const auto before = json::parse(original_).as_object();
    EXPECT_EQ(chained.at("name"), before.at("name"));
    const json::value* version = before.if_contains("cniVersion");
    EXPECT_EQ(chained.at("cniVersion"), version != nullptr ? *version : json::value("0.3.1"));
    json::array now = chained.at("plugins").as_array();
    EXPECT_EQ(now.back().at("type"), "heddle-cni");
    EXPECT_EQ(now.back().at("capabilities").at("io.kubernetes.cri.pod-annotations"), true);
    now.erase(std::prev(now.end()));
    EXPECT_EQ(now, plugins());
    EXPECT_EQ(contents(options_.conf_dir).at(name).first, 0600u) << "it may hold secrets";
  }

  std::string root_;
  std::string original_;
  InstallOptions options_;
};

TEST_P(Networks, KeepEverythingWhenHeddleJoinsAndGetTheirFileBackByteByByte) {
  const auto before = contents(options_.conf_dir);
  const auto report = install(options_);
  ASSERT_TRUE(report) << report.error().message();
  const std::string name = runtimes_choice();
  EXPECT_EQ(report->file, options_.conf_dir + "/" + name);
  expect_chained(name);
  if (is_list(GetParam())) {
    EXPECT_EQ(name, GetParam());
    const std::string now = contents(options_.conf_dir).at(name).second;
    EXPECT_EQ(remove_plugin(now).value(), original_) << "order, indentation or spelling changed";
  }
  EXPECT_EQ(contents(options_.conf_dir).at("90-other.conflist").second, other);

  const auto again = install(options_);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->list_changed);

  ASSERT_TRUE(uninstall(options_));
  EXPECT_EQ(contents(options_.conf_dir), before);
}

TEST_P(Networks, StayAsTheyAreWhenHeddleKeepsAListOfItsOwn) {
  options_.own_first = true;
  const auto before = contents(options_.conf_dir);
  ASSERT_TRUE(install(options_));
  EXPECT_EQ(runtimes_choice(), "00-heddle.conflist");
  expect_chained("00-heddle.conflist");
  auto beside = contents(options_.conf_dir);
  beside.erase("00-heddle.conflist");
  EXPECT_EQ(beside, before);
  ASSERT_TRUE(uninstall(options_));
  EXPECT_EQ(contents(options_.conf_dir), before);
}

TEST_P(Networks, AreJoinedAgainWhenTheyWriteTheirFileAnew) {
  ASSERT_TRUE(install(options_));
  put(GetParam(), original_, 0600);  // as at boot, or when their own agent restarts
  const auto report = install(options_);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->list_changed);
  expect_chained(runtimes_choice());
}

INSTANTIATE_TEST_SUITE_P(Shapes, Networks,
                         testing::Values("10-flannel.conflist", "10-kindnet.conflist", "10-calico.conflist",
                                         "05-cilium.conflist", "05-cilium.conf", "20-bridge.json"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace_if(
                               name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

}  // namespace
}  // namespace heddle::cni
