// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace heddle::tools {

// One TCP segment of an Ethernet frame. `payload` points into the frame.
struct Segment {
  SocketAddress source, destination;
  std::uint32_t sequence = 0;
  bool syn = false, ack = false, fin = false, rst = false;
  std::string_view payload;
};

// Pure and bounded: anything that is no complete Ethernet + IPv4/IPv6 + TCP frame is nothing. One 802.1Q tag
// and IPv6 extension headers that commonly precede TCP (hop-by-hop, routing, destination) are skipped.
std::optional<Segment> parse_frame(std::string_view frame);

// What TLS says in clear at the beginning of one direction of a connection.
struct TlsHello {
  bool client = false;
  bool server = false;
  std::string sni;                // ClientHello
  std::uint16_t version = 0;      // ServerHello's choice: 0x0304 is TLS 1.3
  std::vector<std::string> alpn;  // ClientHello's offer
};
// Reads a ClientHello or ServerHello from the first bytes of a stream; nothing when they are none or
// incomplete.
std::optional<TlsHello> parse_hello(std::string_view stream);

// Bytes on a wire, told apart: which connections are TLS record after record, which are not. Feed it segments
// in the order they were captured. Pure; holds at most 4 KiB per direction of a connection.
class WireSummary {
 public:
  void add(const Segment& segment);

  struct Flow {
    SocketAddress client, server;
    bool tls = false;  // every byte so far, both ways, belongs to TLS records
    bool tls13 = false;
    std::string sni;
    std::vector<std::string> alpn;
    std::uint64_t bytes = 0;  // payload both ways
    std::string sample;       // of what the client sent, when it is not TLS
  };
  std::vector<Flow> flows() const;
  std::uint64_t tls_bytes() const;
  std::uint64_t clear_bytes() const;
  // How often `text` was seen in any payload (also across two segments).
  std::uint64_t count(const std::string& text) const;
  // Must be called before segments arrive.
  void look_for(const std::string& text) { wanted_[text] = 0; }

 private:
  struct Side {
    std::string start;   // first bytes, for the hello
    std::string tail;    // for texts across segments
    std::string record;  // unfinished TLS record header (up to 5 bytes)
    std::uint32_t record_left = 0;
    std::uint32_t next = 0;
    bool synced = false;  // `next` is valid
    bool tls = true;
    std::uint64_t bytes = 0;
  };
  struct Connection {
    SocketAddress client, server;
    Side sides[2];
  };
  static Flow flow_of(const Connection& connection);
  static void follow_records(Side& side, std::string_view bytes);
  void search(Side& side, std::string_view bytes);

  std::map<std::pair<SocketAddress, SocketAddress>, Connection> connections_;
  std::vector<Flow> past_;  // their ports were used again
  std::map<std::string, std::uint64_t> wanted_;
};

}  // namespace heddle::tools
