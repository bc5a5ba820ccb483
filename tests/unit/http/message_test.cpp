// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/message.h"

#include <gtest/gtest.h>

#include "proxy/http/h1_format.h"
#include "proxy/http/strict.h"

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
  EXPECT_EQ(head.scheme(), "http");
  EXPECT_FALSE(head.fields.find(Name::host)) << "what else is read from it must not be another host";
  EXPECT_EQ(parse("GET HTTPS://other/ HTTP/1.1\r\nHost: a\r\n\r\n").scheme(), "https");
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

TEST(HopByHop, KeepsThatTrailersAreWelcomeAmongCodings) {
  Fields fields;
  fields.add("TE", "gzip;q=0.5, Trailers");
  fields.add("Connection", "TE");
  strip_hop_by_hop(fields);
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields.find(Name::te), "trailers");
  fields.clear();
  fields.add("TE", "gzip");
  strip_hop_by_hop(fields);
  EXPECT_TRUE(fields.empty());
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
    head.set_authority("a");
    EXPECT_FALSE(settle(head)) << path;
  }
  RequestHead head;
  head.version = Version::http2;
  head.set_method("GET");
  head.set_target("/a");
  head.set_authority("a");
  EXPECT_TRUE(settle(head));
}

TEST(Authority, IsAHostAndMaybeAPort) {
  for (const char* good :
       {"a", "a.b", "a:80", "a:", "my_app", "10.0.0.1:8080", "[::1]", "[::1]:80", "[fe80::1%25eth0]"})
    EXPECT_TRUE(is_authority(good)) << good;
  for (const char* bad : {"", ":80", "u@a", "a/b", "a?b", "a#b", "a b", "a,b", "a\\b", "::1", "[::1", "[]",
                          "[::1]a", "a:b", "a:+80", "a:65536", "a:80:80", "a%4", "\xc3\xa9"})
    EXPECT_FALSE(is_authority(bad)) << bad;
  EXPECT_TRUE(is_authority("a:80", true));
  EXPECT_FALSE(is_authority("a:", true));
  EXPECT_FALSE(is_authority("a", true));
  EXPECT_TRUE(same_authority("A", "a:80"));
  EXPECT_FALSE(same_authority("a", "a:8080"));
}

TEST(FieldNames, OfTheMeshAreKnownInOtherPunctuationToo) {
  for (const char* ours : {"l5d-client-id", "L5D_Client_Id", "l5d.x", "heddle-client", "heddle_x", "l5d-"})
    EXPECT_TRUE(is_mesh_name(ours)) << ours;
  for (const char* other : {"l5d", "l5dx", "x-l5d-y", "heddle", "heddled-x"})
    EXPECT_FALSE(is_mesh_name(other)) << other;
  EXPECT_TRUE(resembles_framing("Content_Length"));
  EXPECT_TRUE(resembles_framing("transfer_encoding"));
  EXPECT_FALSE(resembles_framing("content-length"));
  EXPECT_FALSE(resembles_framing("content_type"));
}

TEST(Upgrade, NeverOffersHttpItself) {
  EXPECT_EQ(without_http("websocket"), "websocket");
  EXPECT_EQ(without_http("h2c"), "");
  EXPECT_EQ(without_http("H2C , websocket,, HTTP/2.0 , foo/2"), "websocket, foo/2");
}

TEST(ChunkExtensions, AreReadToTheirEnd) {
  for (const char* good : {"", ";a", ";a=b", " ; a = b ;c", ";a=\"x;y\"", ";a=\"\\\"\";b"})
    EXPECT_TRUE(is_chunk_extension(good)) << good;
  for (const char* bad : {";", ";;", ";a=", ";a=\"", ";a=\"\\\"", "a", ";a b", ";a=b c"})
    EXPECT_FALSE(is_chunk_extension(bad)) << bad;
}

TEST(ChunkExtensions, MayNotCostFarMoreThanTheyCarry) {
  const std::string chunk = "1;" + std::string(200, 'x') + "\r\na\r\n";
  ContentReader reader;
  reader.begin(ContentReader::Kind::chunked);
  std::size_t read = 0;
  bool refused = false;
  while (!refused && read < 1000) {
    std::string_view input = chunk;
    while (!input.empty() && !refused) {
      const auto step = reader.next(input);
      refused = step.error != nullptr;
      input.remove_prefix(step.used);
    }
    ++read;
  }
  EXPECT_TRUE(refused);
  EXPECT_GT(read, 50u);
  EXPECT_LT(read, 150u);
}

TEST(Trailers, LoseWhatOnlyAHeadMaySay) {
  Fields trailers;
  for (const char* name : {"content-length", "Host", "transfer-encoding", "connection", "expect",
                           "authorization", "cookie", "l5d-client-id", "l5d_client_id", "content-encoding"})
    trailers.add(name, "x");
  trailers.add("grpc-status", "0");
  trailers.add("x-sum", "1");
  settle_trailers(trailers);
  ASSERT_EQ(trailers.size(), 2u);
  EXPECT_EQ(trailers.find(Name::grpc_status), "0");
  EXPECT_EQ(trailers.find("x-sum"), "1");
}

TEST(HeadEnd, IsNotWaitedForBehindALoneLf) {
  EXPECT_TRUE(has_lone_lf("GET / HTTP/1.1\nHost: a\n\n"));
  EXPECT_TRUE(has_lone_lf("\n"));
  EXPECT_FALSE(has_lone_lf("GET / HTTP/1.1\r\nHost: a\r\n"));
  const std::string_view halves = "GET / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_FALSE(has_lone_lf(halves, 15)) << "an LF whose CR came before it";
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
