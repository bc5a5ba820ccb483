// SPDX-License-Identifier: Apache-2.0
// What any host may send to a pod's inbound listener: a server's handshake over bytes of the fuzzer's, in
// pieces of the fuzzer's sizes.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "proxy/tls/tls_stream.h"
#include "tests/support/authority/authority.h"

namespace heddle::proxy::tls {
namespace {

// Gives the input in pieces, then the end; swallows what is written.
class Scripted final : public Stream {
 public:
  Scripted(std::span<const std::byte> input, std::size_t piece) : input_(input), piece_(piece) {}
  IoResult read(std::span<std::byte> into) override {
    if (blocked_) return {IoStatus::would_block};
    if (input_.empty()) return {IoStatus::eof};
    const std::size_t n = std::min({into.size(), input_.size(), piece_});
    std::memcpy(into.data(), input_.data(), n);
    input_ = input_.subspan(n);
    blocked_ = true;
    return {IoStatus::ok, n};
  }
  IoResult write(std::span<const iovec> data) override {
    std::size_t size = 0;
    for (const auto& part : data) size += part.iov_len;
    return {IoStatus::ok, size};
  }
  void finish_writes() override {}
  void reset() override {}
  std::size_t buffered() const override { return 0; }
  bool done() const { return input_.empty() && !blocked_; }
  void unblock() {
    blocked_ = false;
    if (events_) events_->on_readable();
  }

 private:
  std::span<const std::byte> input_;
  std::size_t piece_;
  bool blocked_ = false;
};

ContextRef context() {
  static const ContextRef made = [] {
    static test::Authority authority;
    const auto key = make_key().value();
    test::Authority::Leaf leaf;
    leaf.names = {"web.shop"};
    leaf.ends = std::chrono::hours(20);
    const auto der = authority.sign(make_request(key, "web.shop").value(), leaf);
    return make_context("web.shop", key, der, {}, parse_trust_anchors(authority.root_pem(), "fuzz").value())
        .value();
  }();
  return made;
}

}  // namespace
}  // namespace heddle::proxy::tls

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  using namespace heddle::proxy::tls;
  if (size < 2) return 0;
  static Loop loop;
  static const auto lingering = std::make_shared<Lingering>(loop);
  auto inner = std::make_unique<Scripted>(std::as_bytes(std::span(data + 1, size - 1)), 1u + data[0] * 8u);
  auto* script = inner.get();
  auto stream = TlsStream::make(loop, lingering, context(), std::move(inner),
                                {Role::server, {}, {}, {alpn_heddle, alpn_transport}});
  if (!stream) return 0;
  IoStatus status = (*stream)->handshake();
  for (int i = 0; i < 4096 && status == IoStatus::would_block; ++i) {
    script->unblock();
    status = (*stream)->handshake();
  }
  // Nobody finishes a handshake without the keys.
  if (status == IoStatus::ok) std::abort();
  if (status == IoStatus::error) (void)(*stream)->failure();
  return 0;
}
