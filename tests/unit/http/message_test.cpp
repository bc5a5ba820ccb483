// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/message.h"

#include <gtest/gtest.h>

#include "proxy/http/h1_format.h"

namespace heddle::proxy::http {
namespace {

RequestHead parse(std::string_view text) {
  RequestHead head;
  auto parsed = parse_request_head(text, head);
  if (parsed) parsed = settle(head);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message()) << "\n" << text;
  return head;
}

// What refused it, or "" when it was accepted.
std::string refusal(std::string_view text) {
  RequestHead head;
  if (find_head_end(text) != text.size()) return "no end of head";
  auto parsed = parse_request_head(text, head);
  if (parsed) parsed = settle(head);
  return parsed ? "" : parsed.error().detail;
}

TEST(RequestHead, KeepsNamesAsSentAndFindsThemInAnyCase) {
  const RequestHead head = parse("GET /a?b=1 HTTP/1.1\r\nHost: web\r\nX-MiXed:  v \t\r\n\r\n");
  EXPECT_EQ(head.method(), "GET");
  EXPECT_EQ(head.path(), "/a?b=1");
  EXPECT_EQ(head.authority(), "web");
  EXPECT_EQ(head.fields.find("x-mixed"), "v");
  EXPECT_EQ(head.fields.name(1), "X-MiXed");
}

TEST(RequestHead, ForwardsMethodsItDoesNotKnow) {
  EXPECT_EQ(parse("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n").method(), "BREW");
}

TEST(RequestHead, TakesTheAuthorityOutOfAnAbsoluteTarget) {
  const RequestHead head = parse("GET http://other:81?x HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(head.absolute_form);
  EXPECT_EQ(head.authority(), "other:81");
  EXPECT_EQ(head.path(), "?x");
}

TEST(RequestHead, RefusesWhateverCouldBeReadInTwoWays) {
  const std::string_view bad[] = {
      "GET / HTTP/1.1\r\n\r\n",                         // no host
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",   // two
      "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",        // obs-fold
      "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",        // bare CR
      "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",        // bare LF
      "GET / HTTP/1.1\r\nHost : a\r\n\r\n",             // space in a name
      "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n",       // empty name
      "GET / HTTP/1.1\r\nHost: a\r\nno-colon\r\n\r\n",  //
      "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",             // two spaces
      "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",           //
      "GET / HTTP/2.0\r\nHost: a\r\n\r\n",              //
      "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",             //
      "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",              //
      "GET relative HTTP/1.1\r\nHost: a\r\n\r\n",       //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",     // both
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",              // differ
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",                                //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",                                  //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",                                  //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",                                 //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",                                    //
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",                // overflow
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",                    //
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",                         //
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",  //
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",                          //
  };
  for (const std::string_view text : bad) EXPECT_NE(refusal(text), "") << text;
  EXPECT_NE(refusal(std::string("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 33)), "");
  EXPECT_NE(refusal("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"), "");
}

TEST(RequestHead, MergesEqualContentLengthsIntoOne) {
  const RequestHead head =
      parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n");
  EXPECT_EQ(head.length, 5u);
  EXPECT_EQ(head.fields.size(), 2u);
}

TEST(HopByHop, RemovesWhatConnectionNamesButNeverFramingOrIdentity) {
  RequestHead head = parse(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine, host, content-length, l5d-client-id\r\n"
      "X-Mine: 1\r\nContent-Length: 0\r\nl5d-client-id: x\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: "
      "h2c\r\n\r\n");
  strip_hop_by_hop(head.fields);
  EXPECT_FALSE(head.fields.find("x-mine"));
  EXPECT_FALSE(head.fields.find("connection"));
  EXPECT_FALSE(head.fields.find("keep-alive"));
  EXPECT_FALSE(head.fields.find("upgrade"));
  EXPECT_TRUE(head.fields.find("host"));
  EXPECT_TRUE(head.fields.find("content-length"));
  EXPECT_TRUE(head.fields.find("l5d-client-id"));
  EXPECT_EQ(head.fields.find("te"), "trailers");
}

TEST(MeshFields, AreStrippedAtEdges) {
  RequestHead head = parse(
      "GET / HTTP/1.1\r\nHost: a\r\nL5d-Client-Id: evil\r\nl5d-dst-override: b\r\nHeddle-Client: "
      "1.2.3.4:5\r\n"
      "l5d-orig-proto: x\r\nheddle: kept\r\n\r\n");
  strip_mesh_fields(head.fields);
  ASSERT_EQ(head.fields.size(), 2u);
  EXPECT_EQ(head.fields.name(1), "heddle");
}

TEST(Cookies, AreJoinedForHttp1) {
  Fields fields;
  fields.add("cookie", "a=1");
  fields.add("x", "y");
  fields.add("cookie", "b=2");
  join_cookies(fields);
  EXPECT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields.find("cookie"), "a=1; b=2");
}

TEST(RequestHead, RefusesHttp2TargetsThatHttp1WouldReadDifferently) {
  for (const char* path : {"", "a", "/a b", "/a HTTP/1.1"}) {
    RequestHead head;
    head.version = Version::http2;
    head.set_method("GET");
    head.set_target(path);
    EXPECT_FALSE(settle(head)) << path;
  }
  RequestHead head;
  head.version = Version::http2;
  head.set_method("GET");
  head.set_target("/a");
  EXPECT_TRUE(settle(head));
}

TEST(ErrorResponse, IsTrailersOnlyForGrpc) {
  const ResponseHead head = make_error_response(503, "no endpoints", true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.fields.find(Name::grpc_status), "14");
  EXPECT_EQ(head.fields.find("grpc-message"), "no endpoints");
  EXPECT_EQ(head.fields.find(Name::l5d_proxy_error), "no endpoints");
  const ResponseHead plain = make_error_response(503, "no endpoints", false);
  EXPECT_EQ(plain.status, 503);
  EXPECT_EQ(plain.fields.find(Name::content_length), "0");
}

// Feeds `text` in pieces of `step` bytes; the content, or "!" and the error.
std::string content_of(ContentReader& reader, std::string_view text, std::size_t step) {
  std::string content;
  for (std::size_t at = 0; at < text.size(); at += step) {
    std::string_view piece = text.substr(at, step);
    while (!piece.empty() && !reader.done()) {
      const auto result = reader.next(piece);
      if (result.error != nullptr) return std::string("!") + result.error;
      EXPECT_NE(result.used, 0u);
      content.append(result.data);
      piece.remove_prefix(result.used);
    }
    if (reader.done())
      return content + "|" + std::string(piece) + std::string(text.substr(std::min(at + step, text.size())));
  }
  return content + "...";
}

TEST(ContentReader, ReadsChunksInPiecesOfAnySize) {
  const std::string_view text = "5\r\nhello\r\n3;ext=\"a\"\r\n wo\r\n0003\r\nrld\r\n0\r\nX-Sum: 1\r\n\r\nGET";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    ContentReader reader;
    reader.begin(ContentReader::Kind::chunked);
    EXPECT_EQ(content_of(reader, text, step), "hello world|GET") << "step " << step;
    EXPECT_EQ(reader.take_trailers().find("x-sum"), "1");
  }
}

TEST(ContentReader, RefusesMalformedChunks) {
  const std::string_view bad[] = {"\r\n",
                                  "g\r\n",
                                  "5\nhello\r\n0\r\n\r\n",
                                  "5\r\nhelloXX0\r\n\r\n",
                                  "-1\r\n",
                                  "+1\r\n",
                                  "0x5\r\nhello",
                                  "5 x\r\nhello",
                                  "ffffffffffffffffff\r\n",
                                  "5;a\rb\r\nhello\r\n",
                                  "0\r\nbad trailer\r\n\r\n",
                                  "1\r\na\n0\r\n\r\n"};
  for (const std::string_view text : bad) {
    for (const std::size_t step : {std::size_t{1}, text.size()}) {
      ContentReader reader;
      reader.begin(ContentReader::Kind::chunked);
      EXPECT_EQ(content_of(reader, text, step).substr(0, 1), "!") << text << " step " << step;
    }
  }
}

TEST(ContentReader, BoundsTrailersAndSizeLines) {
  ContentReader reader;
  reader.begin(ContentReader::Kind::chunked);
  EXPECT_EQ(content_of(reader, "0\r\n" + std::string(100'000, 'a'), 1000).substr(0, 1), "!");
  reader = {};
  reader.begin(ContentReader::Kind::chunked);
  EXPECT_EQ(content_of(reader, "5;" + std::string(100'000, 'a'), 1000).substr(0, 1), "!");
}

TEST(ContentReader, StopsAtTheLength) {
  ContentReader reader;
  reader.begin(ContentReader::Kind::sized, 5);
  EXPECT_EQ(content_of(reader, "helloGET / ", 3), "hello|GET / ");
}

TEST(ResponseHead, KnowsWhenThereIsNoContent) {
  ResponseHead head;
  ASSERT_TRUE(parse_response_head("HTTP/1.1 304\r\ncontent-length: 5\r\n\r\n", head));
  ASSERT_TRUE(settle(head, false, false));
  EXPECT_EQ(head.content, Content::none);
  ASSERT_TRUE(parse_response_head("HTTP/1.1 200 OK\r\n\r\n", head));
  ASSERT_TRUE(settle(head, false, false));
  EXPECT_EQ(head.content, Content::streamed);
  EXPECT_TRUE(head.wants_close);
  EXPECT_FALSE(parse_response_head("HTTP/1.1 20 OK\r\n\r\n", head));
  EXPECT_FALSE(parse_response_head("HTTP/1.1 2000 OK\r\n\r\n", head));
  EXPECT_FALSE(parse_response_head("ICY 200 OK\r\n\r\n", head));
}

}  // namespace
}  // namespace heddle::proxy::http
