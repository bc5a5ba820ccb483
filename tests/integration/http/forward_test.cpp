// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "tests/integration/http/proxy_lab.h"

namespace heddle::proxy {
namespace {

const char* const usual_server =
    "location / { return 200 \"hello\\n\"; } location /id { return 200 "
    "\"$http_l5d_client_id|$http_heddle_client|"
    "$server_protocol|$request_uri|$http_host\\n\"; } location /file { alias /; } "
    "location /empty { return 204; } location /big { root /tmp; try_files /none =404; } "
    "location /post { proxy_pass http://$server_addr:$server_port/sink; } location /sink { return 200 "
    "\"$content_length\\n\"; }";

std::string url(const SocketAddress& address, const std::string& path) {
  return "http://" + address.to_string() + path;
}

class Forwarding : public ::testing::Test {
 protected:
  Nginx nginx_{usual_server};
  ProxyLab lab_;
};

TEST_F(Forwarding, PassesHttp1ToAnUnmeshedServer) {
  const auto entry = lab_.listen_outbound(lab_.plain(nginx_.address()), Protocol::http1);
  const Ran ran = run_command("curl -sS -m 5 -i " + url(entry, "/") + " " + url(entry, "/empty"));
  EXPECT_EQ(ran.status, 0) << ran.out;
  EXPECT_NE(ran.out.find("200 OK"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("hello"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("204"), std::string::npos) << ran.out;
}

TEST_F(Forwarding, CarriesHttp1OverTheMeshAndAddsTheClientsIdentity) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  const Ran ran =
      run_command("curl -sS -m 5 -i -H 'l5d-client-id: evil' -H 'Host: web.test' " + url(entry, "/id?x=1"));
  EXPECT_EQ(ran.status, 0) << ran.out;
  EXPECT_NE(ran.out.find(lab_.client_pod->identity + "||HTTP/1.1|/id?x=1|web.test"), std::string::npos)
      << ran.out;
  EXPECT_EQ(ran.out.find("l5d-orig-proto"), std::string::npos) << ran.out;
}

TEST_F(Forwarding, MovesLargeContentBothWaysUnchanged) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  const std::string file = nginx_.folder() + "/large";
  ASSERT_EQ(run_command("head -c 30000000 /dev/urandom > " + file).status, 0);
  const Ran ran = run_command("curl -sS -m 20 " + url(entry, "/file" + file) + " | cmp - " + file);
  EXPECT_EQ(ran.status, 0) << ran.out;
  const Ran post = run_command("curl -sS -m 20 --data-binary @" + file + " " + url(entry, "/post"));
  EXPECT_EQ(post.out, "30000000\n");
  const Ran chunked = run_command("curl -sS -m 20 -H 'Transfer-Encoding: chunked' --data-binary @" + file +
                                  " " + url(entry, "/post"));
  EXPECT_EQ(chunked.status, 0) << chunked.out;
}

TEST_F(Forwarding, AnswersGatewayErrorsInItsOwnName) {
  const SocketAddress nobody{IpAddress::v4(0x7f000001), free_port()};
  const auto entry = lab_.listen_outbound(lab_.plain(nobody), Protocol::http1);
  const Ran ran = run_command("curl -sS -m 5 -i " + url(entry, "/"));
  EXPECT_NE(ran.out.find("502"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("l5d-proxy-error"), std::string::npos) << ran.out;
}

TEST_F(Forwarding, TriesAnotherEndpointWhenOneCannotBeReached) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const SocketAddress nobody{IpAddress::v4(0x7f000001), free_port()};
  const auto entry = lab_.listen_outbound(lab_.meshed({nobody, far}), Protocol::http1);
  std::string urls;
  for (int i = 0; i < 50; ++i) urls += " " + url(entry, "/");
  const Ran ran = run_command("curl -sS -m 20 -o /dev/null -w '%{http_code}\\n'" + urls);
  std::string expected;
  for (int i = 0; i < 50; ++i) expected += i == 0 ? "200\n" : "200\n";
  EXPECT_EQ(ran.out.find("50"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.status, 0) << ran.out;
}

TEST_F(Forwarding, RefusesAnonymousMeshPeers) {
  const auto far = lab_.listen_mesh(nginx_.address(), TlsState::anonymous);
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  const Ran ran = run_command("curl -sS -m 5 -i " + url(entry, "/"));
  EXPECT_NE(ran.out.find("403"), std::string::npos) << ran.out;
}

TEST_F(Forwarding, ServesManyRequestsOverFewConnections) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  const Ran ran = run_command("wrk -t1 -c64 -d2s " + url(entry, "/"));
  EXPECT_EQ(ran.out.find("Non-2xx"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("Socket errors"), std::string::npos) << ran.out;
  std::cout << ran.out;
}

class Http2Forwarding : public ::testing::Test {
 protected:
  Nginx nginx_{usual_server, "http2"};
  ProxyLab lab_;
};

TEST_F(Http2Forwarding, PassesRequestsOverTheMesh) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http2);
  const Ran one = run_command("curl -sS -m 5 --http2-prior-knowledge " + url(entry, "/id"));
  EXPECT_NE(one.out.find(lab_.client_pod->identity + "||HTTP/2.0|/id"), std::string::npos) << one.out;
  const Ran many = run_command("h2load -n 20000 -c 4 -m 50 " + url(entry, "/"));
  EXPECT_NE(many.out.find("20000 succeeded, 0 failed, 0 errored"), std::string::npos) << many.out;
  std::cout << many.out;
}

TEST_F(Http2Forwarding, PassesRequestsToAnUnmeshedServer) {
  const auto entry = lab_.listen_outbound(lab_.plain(nginx_.address()), Protocol::http2);
  const Ran many = run_command("h2load -n 20000 -c 4 -m 50 " + url(entry, "/"));
  EXPECT_NE(many.out.find("20000 succeeded, 0 failed, 0 errored"), std::string::npos) << many.out;
}

TEST_F(Http2Forwarding, MovesLargeContentUnchanged) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http2);
  const std::string file = nginx_.folder() + "/large";
  ASSERT_EQ(run_command("head -c 30000000 /dev/urandom > " + file).status, 0);
  const Ran ran = run_command("curl -sS -m 20 --http2-prior-knowledge " + url(entry, "/file" + file) +
                              " | cmp - " + file);
  EXPECT_EQ(ran.status, 0) << ran.out;
}

}  // namespace
}  // namespace heddle::proxy
