// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/http/smuggling/wire.h"

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstdint>
#include <memory>
#include <set>

#include "base/fd.h"
#include "tests/integration/http/smuggling/cases.h"

namespace heddle::proxy::smuggling {
namespace {

Fd dial(const SocketAddress& to) {
  sockaddr_storage address{};
  const socklen_t size = to.to_sockaddr(address);
  Fd socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{20, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  return socket;
}

// A peer that closed already does not matter: what it said is read.
void send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// False at the end.
bool receive(int socket, std::string& into) {
  std::array<char, 16 * 1024> buffer;
  const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
  if (got < 0) {
    EXPECT_EQ(errno, ECONNRESET) << "the connection neither ended nor said anything";
  }
  if (got <= 0) return false;
  into.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream, std::string_view payload) {
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift);
  return out.append(payload);
}

// RFC 7541 5.1 with a prefix of 7 bits, and a literal string without Huffman.
std::string literal(std::string_view text) {
  std::string out;
  std::size_t size = text.size();
  if (size < 127) {
    out += static_cast<char>(size);
  } else {
    out += '\x7f';
    for (size -= 127; size >= 128; size >>= 7) out += static_cast<char>(size | 0x80);
    out += static_cast<char>(size);
  }
  return out.append(text);
}

std::string field(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + literal(name) + literal(value);
}

// HEADERS and as many CONTINUATIONs as it takes.
std::string head_frames(std::uint32_t stream, std::string_view block, bool end) {
  constexpr std::size_t most = 16 * 1024;
  std::string out;
  bool first = true;
  do {
    const std::string_view piece = block.substr(0, most);
    block.remove_prefix(piece.size());
    const std::uint8_t flags = static_cast<std::uint8_t>((first && end ? 1 : 0) | (block.empty() ? 4 : 0));
    out += frame(first ? NGHTTP2_HEADERS : NGHTTP2_CONTINUATION, flags, stream, piece);
    first = false;
  } while (!block.empty());
  return out;
}

std::string replace_macros(std::string text) {
  for (const auto& [macro, method] : {std::pair{"{GET}", "GET"}, std::pair{"{POST}", "POST"}}) {
    const std::size_t at = text.find(macro);
    if (at == std::string::npos) continue;
    text.replace(at, std::string_view(macro).size(),
                 std::string(":method: ") + method + " ; :scheme: http ; :path: /c ; :authority: a");
  }
  return text;
}

std::string request_frames(std::string_view text) {
  std::string block, data, out;
  bool heads_over = false, trailers = false;
  for (const std::string& item : split(replace_macros(std::string(text)), " ; ")) {
    if (item.starts_with("=DATA ") || item.starts_with("=END")) {
      const bool end = item.starts_with("=END");
      const std::size_t skip = std::min<std::size_t>(item.size(), end ? 5 : 6);
      data += frame(NGHTTP2_DATA, end ? 1 : 0, 1, expand(std::string_view(item).substr(skip)));
      heads_over = true;
      continue;
    }
    if (item == "=TRAILERS") {
      out = head_frames(1, block + field("l5d-orig-proto", "HTTP/1.1"), false) + data;
      block.clear();
      trailers = true;
      continue;
    }
    if (item.starts_with("=NAMELESS ")) {
      block += field("", expand(std::string_view(item).substr(10)));
      continue;
    }
    std::size_t colon = item.find(": ", 1);
    if (colon == std::string::npos) colon = item.size() - 1;
    block += field(expand(item.substr(0, colon)),
                   colon + 2 <= item.size() ? expand(item.substr(colon + 2)) : std::string());
  }
  if (trailers) return out + head_frames(1, block, true);
  return head_frames(1, block + field("l5d-orig-proto", "HTTP/1.1"), !heads_over) + data;
}

// Reads what the other side sends.
class H2Reader {
 public:
  H2Reader() { nghttp2_hd_inflate_new(&inflater_); }
  ~H2Reader() { nghttp2_hd_inflate_del(inflater_); }

  // Uses up the whole frames.
  void feed(std::string& bytes) {
    while (bytes.size() >= 9) {
      const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
      const std::size_t size = static_cast<std::size_t>(at(0) << 16 | at(1) << 8 | at(2));
      if (bytes.size() < 9 + size) return;
      on_frame(at(3), at(4), at(8), bytes.substr(9, size));
      bytes.erase(0, 9 + size);
    }
  }
  bool over() const { return (heard.reset || ended_.contains(1)) && (last_reset_ || ended_.contains(3)); }
  H2Heard heard;

 private:
  void on_frame(int type, int flags, int stream, const std::string& payload) {
    if (type == NGHTTP2_GOAWAY) heard.goaway = true;
    if (type == NGHTTP2_RST_STREAM) (stream == 1 ? heard.reset : last_reset_) = true;
    if (type == NGHTTP2_HEADERS) on_head(stream, payload);
    if (type == NGHTTP2_DATA && stream == 3) heard.last += payload;
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) && (flags & 1) != 0) ended_.insert(stream);
  }
  void on_head(int stream, const std::string& payload) {
    const auto* in = reinterpret_cast<const std::uint8_t*>(payload.data());
    std::size_t left = payload.size();
    while (true) {
      nghttp2_nv nv{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &nv, &flags, in, left, 1);
      ASSERT_GE(used, 0);
      in += used;
      left -= static_cast<std::size_t>(used);
      const std::string name(reinterpret_cast<char*>(nv.name), nv.namelen);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && name == ":status" && stream == 1)
        heard.status = std::stoi(std::string(reinterpret_cast<char*>(nv.value), nv.valuelen));
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
  }
  nghttp2_hd_inflater* inflater_ = nullptr;
  std::set<int> ended_;
  bool last_reset_ = false;
};

}  // namespace

std::string converse(const SocketAddress& to, std::string_view bytes) {
  const Fd socket = dial(to);
  send_all(socket.get(), bytes);
  std::string heard;
  while (receive(socket.get(), heard)) {
  }
  return heard;
}

H2Heard converse_http2(const SocketAddress& to, std::string_view text) {
  const Fd socket = dial(to);
  send_all(socket.get(),
           "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(NGHTTP2_SETTINGS, 0, 0, "") + request_frames(text) +
               head_frames(3,
                           field(":method", "GET") + field(":scheme", "http") + field(":path", "/last") +
                               field(":authority", "a") + field("l5d-orig-proto", "HTTP/1.1"),
                           true));
  H2Reader reader;
  std::string bytes;
  while (!reader.over() && receive(socket.get(), bytes)) reader.feed(bytes);
  return reader.heard;
}

}  // namespace heddle::proxy::smuggling
