// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <string>

#include "tests/support/scripted_api/h2_server.h"

namespace heddle::test {

// How an answer is written, whatever the version of HTTP. Functions return false when the client has gone.
class Reply {
 public:
  virtual ~Reply() = default;
  // `status` as "200 OK", `headers` in lines that end with CRLF.
  virtual bool whole(const std::string& status, const std::string& headers, const std::string& body) = 0;
  // An answer with status 200 that lasts.
  virtual bool begin() = 0;
  virtual bool piece(const std::string& bytes) = 0;
  virtual bool end() = 0;
  // Without an end: false where that takes the connection along.
  virtual bool break_off(std::uint32_t code) = 0;
  virtual bool gone() const = 0;
};

class H1Reply : public Reply {
 public:
  explicit H1Reply(SSL* tls) : tls_(tls) {}
  bool whole(const std::string& status, const std::string& headers, const std::string& body) override;
  bool begin() override;
  bool piece(const std::string& bytes) override;
  bool end() override;
  bool break_off(std::uint32_t) override { return false; }
  bool gone() const override { return false; }  // told by the next piece

 private:
  bool send(const std::string& bytes);
  SSL* const tls_;
};

class H2Reply : public Reply {
 public:
  explicit H2Reply(H2Server::Stream& stream) : stream_(stream) {}
  bool whole(const std::string& status, const std::string& headers, const std::string& body) override;
  bool begin() override;
  bool piece(const std::string& bytes) override { return stream_.send(bytes); }
  bool end() override { return stream_.end(); }
  bool break_off(std::uint32_t code) override;
  bool gone() const override { return stream_.gone(); }

 private:
  H2Server::Stream& stream_;
};

}  // namespace heddle::test
