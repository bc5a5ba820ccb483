// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <string>

#include "control/injector/review.h"

namespace heddle::test {

inline std::string recorded(const std::string& name) {
  std::ifstream in(std::string(REVIEWS) + "/" + name + ".json", std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline control::AdmissionRequest read_recorded(const std::string& name) {
  auto request = control::read_admission_request(recorded(name));
  EXPECT_TRUE(request) << name;
  return request ? std::move(*request) : control::AdmissionRequest();
}

}  // namespace heddle::test
