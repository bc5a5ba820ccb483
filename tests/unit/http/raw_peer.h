// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>
#include <string_view>

#include "proxy/http/h2_server.h"
#include "tests/unit/http/in_memory.h"

namespace heddle::proxy::http {

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view empty_settings{"\0\0\0\4\0\0\0\0\0", 9};

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                         std::string_view payload) {
  std::string out;
  const auto size = static_cast<std::uint32_t>(payload.size());
  for (const int shift : {16, 8, 0}) out += static_cast<char>(size >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift);
  return out.append(payload);
}

// GET / of authority "a".
inline std::string get(std::uint32_t stream, bool end = true) {
  return frame(NGHTTP2_HEADERS,
               static_cast<std::uint8_t>((end ? NGHTTP2_FLAG_END_STREAM : 0) | NGHTTP2_FLAG_END_HEADERS),
               stream,
               "\x82\x86\x84\x41\x01"
               "a");
}

// A client that sends frames made by hand to a server of ours.
class RawPeer : public ::testing::Test, public TunnelHandler {
 protected:
  explicit RawPeer(const H2Settings& settings = mesh_settings(),
                   std::string_view own_settings = empty_settings) {
    auto [ours, theirs] = make_pipe(loop_.loop);
    peer_ = std::make_unique<Talker>(std::move(theirs));
    load_->limits.buffered_bytes = std::size_t{1} << 30;
    server_ =
        make_h2_server(loop_.engine, std::move(ours), answerer_, owner_, settings, this, ByteBudget(load_));
    peer_->say(preface);
    peer_->say(own_settings);
  }
  std::string check_tunnel(std::string_view, std::string_view) override { return {}; }
  void open_tunnel(std::string_view, std::unique_ptr<Stream> stream) override { tunnel_ = std::move(stream); }

  // So many requests, each taken back at once.
  void open_and_reset(int count) {
    std::uint32_t stream = 1;
    std::string resets;
    for (int i = 0; i < count; ++i, stream += 2)
      resets += get(stream) + frame(NGHTTP2_RST_STREAM, 0, stream, std::string_view("\0\0\0\x8", 4));
    peer_->say(resets);
  }

  // How many frames of a type the peer heard.
  int heard(std::uint8_t type) const {
    int count = 0;
    for_each_frame([&](std::string_view frame) { count += frame[3] == type ? 1 : 0; });
    return count;
  }
  // The error code of the GOAWAY that the peer heard; -1: none.
  int goaway() const {
    int code = -1;
    for_each_frame([&](std::string_view frame) {
      if (frame[3] == NGHTTP2_GOAWAY) code = static_cast<unsigned char>(frame[16]);
    });
    return code;
  }
  template <class Visit>
  void for_each_frame(const Visit& visit) const {
    std::string_view heard = peer_->heard;
    while (heard.size() >= 9) {
      const auto at = [&](std::size_t i) { return static_cast<unsigned char>(heard[i]); };
      const std::size_t size = static_cast<std::size_t>(at(0) << 16 | at(1) << 8 | at(2));
      if (heard.size() < 9 + size) break;
      visit(heard.substr(0, 9 + size));
      heard.remove_prefix(9 + size);
    }
  }
  bool ended_calmly() {
    return loop_.until([&] { return peer_->ended || peer_->error != 0; }) &&
           goaway() == NGHTTP2_ENHANCE_YOUR_CALM;
  }

  std::uint64_t refused(Refusal why) const { return load_->refusals.of(why); }

  std::shared_ptr<PodLoad> load_ = std::make_shared<PodLoad>();
  TestLoop loop_{{std::chrono::milliseconds(0), std::chrono::milliseconds(0), std::chrono::milliseconds(5)}};
  Answerer answerer_;
  Owner owner_;
  std::unique_ptr<Talker> peer_;
  std::unique_ptr<ServerCodec> server_;
  std::unique_ptr<Stream> tunnel_;
};

}  // namespace heddle::proxy::http
