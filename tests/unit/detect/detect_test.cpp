// SPDX-License-Identifier: Apache-2.0
#include "proxy/detect/detect.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>

namespace heddle::proxy {
namespace {

std::optional<Detected> look(std::string_view text, bool ended = false) {
  return detect(std::as_bytes(std::span(text)), ended);
}

// What detection says when the bytes arrive one by one: the first answer, and how many bytes it took.
std::pair<std::optional<Detected>, std::size_t> drip(std::string_view text) {
  for (std::size_t n = 1; n <= text.size(); ++n) {
    if (auto answer = look(text.substr(0, n))) return {answer, n};
  }
  return {std::nullopt, text.size()};
}

std::string number(std::size_t value, int size) {
  std::string out;
  for (int shift = (size - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
  return out;
}
std::string block(const std::string& content, int length_size) {
  return number(content.size(), length_size) + content;
}

std::string hello_message(const std::string& sni, std::size_t padding = 0) {
  std::string extensions = number(0xabcd, 2) + block(std::string(padding, 'p'), 2);
  if (!sni.empty()) extensions += number(0, 2) + block(block(std::string(1, '\0') + block(sni, 2), 2), 2);
  const std::string body = "\x03\x03" + std::string(32, 'r') + block(std::string(32, 's'), 1) +
                           block(std::string("\x13\x01", 2), 2) + block(std::string(1, '\0'), 1) +
                           block(extensions, 2);
  return "\x01" + block(body, 3);
}
std::string record(const std::string& content) {
  return std::string("\x16\x03\x01", 3) + block(content, 2);
}

std::string hello_in_records(const std::string& sni, std::size_t fragment) {
  const std::string message = hello_message(sni);
  std::string out;
  for (std::size_t i = 0; i < message.size(); i += fragment) out += record(message.substr(i, fragment));
  return out;
}

TEST(Detect, KnowsAnHttp1RequestByItsWholeRequestLine) {
  for (const char* line :
       {"GET / HTTP/1.1\r\n", "POST /a?b=c HTTP/1.0\r\n", "CONNECT host:443 HTTP/1.1\r\n",
        "M-SEARCH * HTTP/1.1\r\n", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nGET / HTTP/1.1\r\n"}) {
    const auto found = look(line);
    ASSERT_TRUE(found) << line;
    EXPECT_EQ(found->protocol, Protocol::http1) << line;
  }
  EXPECT_FALSE(look("GET / HTTP/1.1\r"));
  EXPECT_FALSE(look("GE"));
  EXPECT_FALSE(look(""));
}

TEST(Detect, TreatsAPrefaceSplitOverTwoReadsAsHttp2) {
  const std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (std::size_t n = 0; n < preface.size(); ++n) EXPECT_FALSE(look(preface.substr(0, n))) << n;
  EXPECT_EQ(look(preface)->protocol, Protocol::http2);
  EXPECT_EQ(look(std::string(preface) + "\0\0\0\4")->protocol, Protocol::http2);
}

TEST(Detect, DoesNotMistakeAMethodThatBeginsLikeThePreface) {
  EXPECT_EQ(look("PRINT /x HTTP/1.1\r\n")->protocol, Protocol::http1);
  EXPECT_EQ(look("PRI * HTTP/2.0\r\n\r\nXX")->protocol, Protocol::http1) << "which is refused";
}

TEST(Detect, SaysOpaqueAtTheFirstByteThatCannotBeHttp) {
  struct Case {
    std::string text;
    std::size_t at;  // bytes needed
  };
  const Case cases[] = {
      {"*1\r\n$4\r\nPING\r\n", 4},        // Redis: '*1' could be a method, and CR a blank
      {"SET key value\r\n", 9},           // inline command: the version would begin with H
      {"EHLO mail.example\r\n", 18},      // SMTP
      {std::string("\0\0\0\x08", 4), 1},  // PostgreSQL's start
      {"\xff\xfe", 1},                    // telnet
      {"USER anonymous\r\n", 15},
      {"GET / HTTX/1.1\r\n", 16},
      {"GET / HTTX/1.1 HTT\n", 19},
      {"GET /\r\nHTTP/1.1", 7},  // HTTP/0.9, if anything
      {"GET key HTTP/x", 14},
      {" x\n", 3},
      {"SSH-2.0-OpenSSH_9\r\n", 19},
  };
  for (const auto& each : cases) {
    const auto [found, size] = drip(each.text);
    ASSERT_TRUE(found) << each.text;
    EXPECT_EQ(found->protocol, Protocol::opaque) << each.text;
    EXPECT_EQ(size, each.at) << each.text;
  }
}

TEST(Detect, TakesWhatAForgivingServerMightTakeForARequestLineForHttp1) {
  for (const char* line :
       {"GET / HTTP/1.1\n", "GET / HTTP/1.1\rX: y", "GET  / HTTP/1.1\r\n", "GET\t/\tHTTP/1.1\r\n",
        " GET / HTTP/1.1\r\n", "\n\nGET / HTTP/1.1\r\n", "\r\n\r\nGET / HTTP/1.1\n", "GET / HTTP/1.1 \r\n",
        "GET / http/1.1\n", "GET / HTTP/2.0\r\n", "GET / HTTP/1.x\r\n", "GET / HTTP/11\n",
        "GET /a b HTTP/1.1\r\n", "GET /\r HTTP/1.1\n", "GET\r/ HTTP/1.1\n", "get * HTTP/1.1\v\n",
        "POST HTTP://a HTTP/1.1\n", "connect a:1  HTTP/1.1\n", "GET /\x7f\xff\x01 HTTP/1.1\r\n"}) {
    const auto found = look(line);
    ASSERT_TRUE(found) << line;
    EXPECT_EQ(found->protocol, Protocol::http1) << line;
    const auto dripped = drip(line).first;
    ASSERT_TRUE(dripped) << line;
    EXPECT_EQ(dripped->protocol, Protocol::http1) << line;
  }
}

TEST(Detect, EndsTheWaitWhenTheClientEnded) {
  EXPECT_EQ(look("", true)->protocol, Protocol::opaque);
  EXPECT_EQ(look("GET / HT", true)->protocol, Protocol::opaque);
  EXPECT_EQ(look(record(hello_message("a")).substr(0, 20), true)->protocol, Protocol::opaque);
  EXPECT_EQ(look("GET / HTTP/1.1\r\n", true)->protocol, Protocol::http1);
}

TEST(Detect, LeavesARequestLineThatIsTooLongToHttp1AndGivesUpOnOtherLines) {
  const std::string line = "GET /" + std::string(max_detect_bytes, 'a');
  EXPECT_FALSE(look(line.substr(0, max_detect_bytes - 1)));
  EXPECT_EQ(look(line)->protocol, Protocol::http1);
  EXPECT_EQ(look(std::string(max_detect_bytes, '\n'))->protocol, Protocol::http1);
  EXPECT_EQ(look("AUTH " + std::string(max_detect_bytes, 'a'))->protocol, Protocol::opaque);
  EXPECT_EQ(look(std::string(65, 'A'))->protocol, Protocol::opaque);
}

TEST(Detect, ReadsTheNameOfAClientHello) {
  const auto found = look(record(hello_message("Web.Shop.Example")));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->protocol, Protocol::tls);
  EXPECT_EQ(found->sni, "web.shop.example");
  EXPECT_EQ(look(record(hello_message("")))->sni, "");
}

TEST(Detect, ReadsAClientHelloInFragmentsOfAnySize) {
  for (const std::size_t fragment : {1, 2, 3, 4, 5, 7, 50, 100}) {
    const std::string bytes = hello_in_records("db.example", fragment);
    const auto [found, size] = drip(bytes);
    ASSERT_TRUE(found) << fragment;
    EXPECT_EQ(found->protocol, Protocol::tls) << fragment;
    EXPECT_EQ(found->sni, "db.example") << fragment;
    EXPECT_EQ(size, bytes.size()) << fragment;
  }
}

TEST(Detect, CallsAClientHelloLargerThanItLooksAtTlsWithoutName) {
  const std::string message = hello_message("far.example", 20'000);
  const std::string bytes = record(message.substr(0, 16'000)) + record(message.substr(16'000));
  EXPECT_FALSE(look(std::string_view(bytes).substr(0, max_detect_bytes - 1)));
  const auto found = look(bytes);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->protocol, Protocol::tls);
  EXPECT_EQ(found->sni, "");
}

TEST(Detect, CallsMalformedTlsOpaque) {
  const std::string good = record(hello_message("a.example"));
  std::string server_hello = good;
  server_hello[5] = 2;
  std::string version = good;
  version[1] = 2;
  std::string empty_record("\x16\x03\x01\x00\x00", 5);
  std::string huge_record("\x16\x03\x01\xff\xff", 5);
  std::string broken_lengths = good;
  broken_lengths[5 + 4 + 34] = static_cast<char>(0xff);  // session id longer than the message
  for (const auto& bytes : {server_hello, version, empty_record, huge_record, broken_lengths}) {
    const auto found = look(bytes);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->protocol, Protocol::opaque);
  }
}

TEST(Detect, DecidesTheSameHoweverBytesAreSplit) {
  std::mt19937 random(7);
  const std::string seeds[] = {"GET /path HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                               record(hello_message("x.example")), "*3\r\n$3\r\nSET\r\n",
                               "\r\n get\t/a\rb http/1.1\rc\n"};
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = seeds[random() % std::size(seeds)];
    for (unsigned flips = random() % 3; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto whole = look(bytes);
    const auto [dripped, size] = drip(bytes);
    ASSERT_EQ(whole.has_value(), dripped.has_value()) << bytes;
    if (whole) {
      ASSERT_EQ(whole->protocol, dripped->protocol) << bytes;
    }
  }
}

bool begins_http2_server(std::string_view bytes) {
  return is_http2_server(std::as_bytes(std::span(bytes)));
}

TEST(Http2Server, BeginsWithSettings) {
  using namespace std::string_view_literals;
  EXPECT_TRUE(begins_http2_server("\0\0\0\4\0\0\0\0\0"sv)) << "none that differ from the defaults";
  EXPECT_TRUE(begins_http2_server("\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64"sv));
  EXPECT_FALSE(begins_http2_server("\0\0\0\4\1\0\0\0\0"sv)) << "an acknowledgement answers a client";
  EXPECT_FALSE(begins_http2_server("\0\0\5\4\0\0\0\0\0"sv)) << "settings have six bytes each";
  EXPECT_FALSE(begins_http2_server("\0\0\0\4\0\0\0\0\1"sv)) << "of a stream";
  EXPECT_FALSE(begins_http2_server("\0\0\0\6\0\0\0\0\0"sv)) << "PING";
  EXPECT_FALSE(begins_http2_server("\0\0\0\4\0\0\0\0"sv)) << "not a whole head";
  EXPECT_FALSE(
      begins_http2_server("J\0\0\0\x0a"
                          "8.0.33"sv))
      << "MariaDB's greeting";
  EXPECT_FALSE(begins_http2_server(""sv));
}

}  // namespace
}  // namespace heddle::proxy
