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
  ASSERT_EQ(run_command("head -c 8000000 /dev/urandom > " + file).status, 0);
  const Ran ran = run_command("curl -sS -m 60 " + url(entry, "/file" + file) + " | cmp - " + file);
  EXPECT_EQ(ran.status, 0) << ran.out;
  const Ran post = run_command("curl -sS -m 60 --data-binary @" + file + " " + url(entry, "/post"));
  EXPECT_EQ(post.out, "8000000\n");
  const Ran chunked = run_command("curl -sS -m 60 -H 'Transfer-Encoding: chunked' --data-binary @" + file +
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

TEST_F(Forwarding, AnswersRequestsBeyondThePodsLimit503AndNamesTheReason) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  PodLoad& load = *lab_.client_pod->load;
  load.limits.requests = 3;
  load.requests = 3;  // that others are waiting for
  const Ran refused = run_command("curl -sS -m 20 -i " + url(entry, "/"));
  EXPECT_NE(refused.out.find(" 503 "), std::string::npos) << refused.out;
  EXPECT_NE(refused.out.find("l5d-proxy-error: the pod has as many requests as it may"), std::string::npos)
      << refused.out;
  EXPECT_EQ(load.limited[static_cast<std::size_t>(Limit::requests)], 1u);
  load.requests = 0;
  const Ran served = run_command("curl -sS -m 20 -i " + url(entry, "/") + " " + url(entry, "/"));
  EXPECT_NE(served.out.find(" 200 "), std::string::npos) << served.out;
  EXPECT_EQ(load.requests, 0u) << "places are given back";
  EXPECT_EQ(lab_.server_pod->load->requests, 0u);
}

TEST_F(Forwarding, TriesAnotherEndpointWhenOneCannotBeReached) {
  const auto far = lab_.listen_mesh(nginx_.address());
  const SocketAddress nobody{IpAddress::v4(0x7f000001), free_port()};
  const auto entry = lab_.listen_outbound(lab_.meshed({nobody, far}), Protocol::http1);
  std::string urls;
  for (int i = 0; i < 50; ++i) urls += " " + url(entry, "/");
  const Ran ran = run_command("curl -sS -m 60 -o /dev/null -w '%{http_code}\\n'" + urls);
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

// Upgrades at `address`, sends bytes, half-closes; prints what came back.
std::string upgrade_and_echo(const SocketAddress& address) {
  return "timeout 10 python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\"," +
         std::to_string(address.port) +
         ")); s.sendall(b\"GET /chat HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade\\r\\nUpgrade: "
         "echo\\r\\n\\r\\n\"); h=b\"\"\n"
         "while b\"\\r\\n\\r\\n\" not in h: h+=s.recv(4096)\n"
         "s.sendall(b\"x\"*100000); s.shutdown(socket.SHUT_WR); n=0\n"
         "while True:\n d=s.recv(65536)\n if not d: break\n n+=d.count(b\"x\")\n"
         "print(h.split()[1].decode(), h.lower().count(b\"upgrade: echo\"), n)'";
}

TEST_F(Forwarding, SwitchesProtocolsTowardsAnUnmeshedServer) {
  const auto entry = lab_.listen_outbound(lab_.plain(lab_.listen_switching_app()), Protocol::http1);
  EXPECT_EQ(run_command(upgrade_and_echo(entry)).out, "101 1 100000\n");
}

TEST_F(Forwarding, SwitchesProtocolsOverAMeshTunnel) {
  const auto far = lab_.listen_mesh(lab_.listen_switching_app());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  EXPECT_EQ(run_command(upgrade_and_echo(entry)).out, "101 1 100000\n");
}

TEST_F(Forwarding, JoinsAPodOfTheSameNodeWithoutAConnectionBetween) {
  lab_.join_locally();
  const auto entry = lab_.listen_outbound(lab_.meshed({nginx_.address()}), Protocol::http1);
  const Ran ran =
      run_command("curl -sS -m 5 -H 'l5d-client-id: evil' " + url(entry, "/id") + " " + url(entry, "/id"));
  EXPECT_EQ(ran.status, 0) << ran.out;
  EXPECT_NE(ran.out.find(lab_.client_pod->identity + "||HTTP/1.1|/id"), std::string::npos) << ran.out;
}

TEST_F(Forwarding, RemovesAnInventedIdentityOfAnUnmeshedClient) {
  const auto entry = lab_.listen_inbound(nginx_.address(), Protocol::http1);
  const Ran ran = run_command("curl -sS -m 5 -H 'l5d-client-id: evil' -H 'heddle-client: 1.2.3.4:5' " +
                              url(entry, "/id"));
  EXPECT_TRUE(ran.out.starts_with("||HTTP/1.1|/id")) << ran.out;
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
  ASSERT_EQ(run_command("head -c 8000000 /dev/urandom > " + file).status, 0);
  const Ran ran = run_command("curl -sS -m 60 --http2-prior-knowledge " + url(entry, "/file" + file) +
                              " | cmp - " + file);
  EXPECT_EQ(ran.status, 0) << ran.out;
}

}  // namespace
}  // namespace heddle::proxy
