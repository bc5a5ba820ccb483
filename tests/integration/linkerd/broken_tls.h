// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/io/loop.h"
#include "proxy/tls/tls.h"

namespace heddle::proxy::test {

// A TLS whose connections cannot be written to, as when the peer resets right after its handshake.
class BrokenTls final : public tls::Endpoint {
 public:
  explicit BrokenTls(Loop& loop) : loop_(loop) {}
  struct Broken final : Stream {
    IoResult read(std::span<std::byte>) override { return {IoStatus::would_block}; }
    IoResult write(std::span<const iovec>) override { return {IoStatus::error, 0, ECONNRESET}; }
    void finish_writes() override {}
    void reset() override {}
    std::size_t buffered() const override { return 0; }
  };
  std::unique_ptr<tls::Handshake> connect(std::unique_ptr<Stream>, PodRef, std::string expected, std::string,
                                          std::vector<std::string>, std::chrono::milliseconds,
                                          tls::Done done) override {
    loop_.defer([expected, done] {
      done(tls::Established{std::make_unique<Broken>(), {expected, tls::alpn_transport, {}}});
    });
    return std::make_unique<tls::Handshake>();
  }
  std::unique_ptr<tls::Handshake> accept(std::unique_ptr<Stream>, PodRef, const IpAddress&,
                                         std::vector<std::string>, std::chrono::milliseconds,
                                         tls::Done) override {
    return nullptr;
  }
  bool certified(const Pod&) const override { return true; }
  std::size_t closing() const override { return 0; }

 private:
  Loop& loop_;
};

}  // namespace heddle::proxy::test
