// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <functional>

#include "tests/support/eventually.h"
#include "tools/process/spawn.h"

namespace heddle::tools {

// A lab of a name of its own, taken down afterwards whatever happened.
class LabTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // `heddle ARGS...` to its end.
  Finished heddle(std::vector<std::string> arguments);
  // The same; the test fails unless it ended with 0. Its output.
  std::string heddle_ok(std::vector<std::string> arguments);
  boost::json::value heddle_json(std::vector<std::string> arguments);
  // `heddle lab exec POD -- COMMAND`.
  Finished in_pod(const std::string& pod, std::vector<std::string> command);

  // Writes a YAML file into the test's folder and returns the folder.
  std::string objects(const std::string& yaml);
  // What is left of the lab: folders, mounts, cgroups. Empty when nothing is.
  std::string remains() const;

  std::string name_;
  std::string folder_;
};

}  // namespace heddle::tools
