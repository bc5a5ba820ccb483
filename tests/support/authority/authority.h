// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace heddle::test {

// A root of its own that signs what tests ask for. Not thread-safe; aborts on what cannot happen.
class Authority {
 public:
  explicit Authority(const std::string& name = "test root");
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  std::string root_pem() const;

  struct Leaf {
    std::vector<std::string> names;  // DNS, or URI with "://"; empty: no subjectAltName
    std::chrono::seconds begins{-20};
    std::chrono::seconds ends{3600};
  };
  // A leaf in DER for the key of a certificate request in DER.
  std::string sign(const std::string& csr_der, const Leaf& leaf);
  // The names that a request asks for, and its common name; empty if the request's signature is wrong.
  static std::vector<std::string> requested_names(const std::string& csr_der);
  static std::string requested_common_name(const std::string& csr_der);

  // A key and its certificate, both PEM: for servers that are not heddle.
  struct Pair {
    std::string key_pem;
    std::string certificate_pem;
  };
  Pair issue(const Leaf& leaf);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::test
