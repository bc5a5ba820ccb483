// SPDX-License-Identifier: Apache-2.0
// Prints what a JSONPath template makes of the document on standard input, for jsonpath_test.py.
#include <boost/json.hpp>
#include <iostream>
#include <iterator>

#include "tools/output/jsonpath.h"

int main(int argc, char** argv) {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const auto path = heddle::tools::JsonPath::parse(argc > 1 ? argv[1] : "");
  const auto made = path ? path->apply(boost::json::parse(text)) : heddle::Result<std::string>(path.error());
  if (!made) {
    std::cerr << made.error().message() << "\n";
    return 1;
  }
  std::cout << *made;
  return 0;
}
