// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound/forward_proxy.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "proxy/telemetry/registry.h"
#include "tests/integration/http/proxy_lab.h"
#include "tests/support/eventually.h"

namespace heddle::proxy {
namespace {

// What the test says; names and addresses that it says nothing of are pending.
class ScriptedDirectory final : public Directory {
 public:
  struct Waiting final : Waiter {
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
    ~Waiting() override { *alive = false; }
  };
  explicit ScriptedDirectory(Loop& loop) : loop_(loop) {}
  std::map<std::string, DestinationRef> known;

  DestinationRef lookup(const Pod&, const SocketAddress& address) override {
    return find(address.to_string());
  }
  DestinationRef lookup(const Pod&, const std::string& name, std::uint16_t port) override {
    return find(name + ":" + std::to_string(port));
  }
  std::unique_ptr<Waiter> when_known(DestinationRef entry, std::function<void()> ready) override {
    auto waiting = std::make_unique<Waiting>();
    look(std::move(entry), std::move(ready), waiting->alive);
    return waiting;
  }

 private:
  DestinationRef find(const std::string& what) {
    DestinationRef& entry = known[what];
    if (!entry) entry = std::make_shared<Destination>(1);
    return entry;
  }
  void look(DestinationRef entry, std::function<void()> ready, std::shared_ptr<bool> alive) {
    loop_.post([this, entry, ready, alive] {
      if (!*alive) return;
      if (entry->state == Destination::State::pending) return look(entry, ready, alive);
      ready();
    });
  }
  Loop& loop_;
};

class ForwardProxy : public ::testing::Test {
 protected:
  ForwardProxy() {
    auto pod = std::make_shared<Pod>(*lab_.client_pod);
    pod->outbound_port = 4140;
    pod_ = pod;
    lab_.run([this] {
      lab_.client().telemetry = registry_.make_telemetry();
      auto made = std::make_unique<ScriptedDirectory>(lab_.client().loop);
      directory_ = made.get();
      lab_.client().directory = std::move(made);
    });
    entry_ = listen(nullptr);
  }

  SocketAddress listen(const DestinationRef& dialled) {
    return lab_.listen(lab_.client(), [this, dialled](Worker& worker, SocketAddress from, auto stream) {
      serve_forward_proxy(worker, pod_, from, dialled, std::move(stream));
    });
  }
  void know(const std::string& what, const DestinationRef& destination) {
    lab_.run([&] { directory_->known[what] = destination; });
  }
  DestinationRef absent(bool unavailable) {
    auto destination = std::make_shared<Destination>(1);
    destination->state = Destination::State::not_found;
    destination->unavailable = unavailable;
    return destination;
  }
  std::string curl(const std::string& arguments) {
    return run_command("curl -sS -m 20 -x " + entry_.to_string() + " " + arguments).out;
  }

  Nginx nginx_{"location / { return 200 \"$request|$http_host|$http_l5d_client_id\\n\"; }"};
  MetricsRegistry registry_;
  ProxyLab lab_;
  PodRef pod_;
  ScriptedDirectory* directory_ = nullptr;
  SocketAddress entry_;
};

TEST_F(ForwardProxy, SendsEachRequestOfAConnectionWhereItsTargetSays) {
  know("web.test.svc.cluster.local:80", lab_.meshed({lab_.listen_mesh(nginx_.address())}));
  know(nginx_.address().to_string(), lab_.plain(nginx_.address()));
  const std::string address = nginx_.address().to_string();
  EXPECT_EQ(curl("http://WEB.test.svc.cluster.local./a?b=1 http://" + address +
                 "/c http://web.test.svc.cluster.local?d"),
            "GET /a?b=1 HTTP/1.1|WEB.test.svc.cluster.local.|" + pod_->identity + "\n" +  //
                "GET /c HTTP/1.1|" + address + "|\n" + "GET /?d HTTP/1.1|web.test.svc.cluster.local|" +
                pod_->identity + "\n");
  EXPECT_EQ(
      curl("-o /dev/null -w '%{num_connects}' http://" + address + "/ -o /dev/null http://" + address + "/"),
      "10");
}

TEST_F(ForwardProxy, AsksAboutTheServerWhenTheTargetOfOptionsHasNoPath) {
  know("web.test:80", lab_.plain(nginx_.address()));
  know("mesh.test:80", lab_.meshed({lab_.listen_mesh(nginx_.address())}));
  for (const char* host : {"web.test", "mesh.test"}) {
    const std::string options =
        std::string("-X OPTIONS http://") + host + "/ --request-target http://" + host;
    // nginx serves no asterisk.
    EXPECT_TRUE(curl("-o /dev/null -w '%{http_code} %header{server}' " + options).starts_with("400 nginx"));
    EXPECT_EQ(curl(options + "/"), std::string("OPTIONS / HTTP/1.1|") + host + "|" +
                                       (host[0] == 'm' ? pod_->identity : "") + "\n");
  }
}

TEST_F(ForwardProxy, MakesAConnectionOfConnect) {
  know("web.test.svc.cluster.local:80", lab_.meshed({lab_.listen_mesh(nginx_.address())}));
  EXPECT_EQ(curl("-p http://web.test.svc.cluster.local:80/a"),
            "GET /a HTTP/1.1|web.test.svc.cluster.local|" + pod_->identity + "\n");
}

TEST_F(ForwardProxy, WaitsForDiscovery) {
  std::string requested, connected;
  std::thread requests([&] { requested = curl("http://slow.test/"); });
  std::thread connects([&] { connected = curl("-p http://slow.test:81/"); });
  EXPECT_TRUE(test::eventually([this] {
    bool asked = false;
    lab_.run([&] { asked = directory_->known.size() == 2; });
    return asked;
  }));
  const DestinationRef answer = lab_.plain(nginx_.address());
  lab_.run([&] {
    for (auto& [what, destination] : directory_->known) {
      destination->endpoint = answer->endpoint;
      destination->state = answer->state;
    }
  });
  requests.join();
  connects.join();
  EXPECT_EQ(requested, "GET / HTTP/1.1|slow.test|\n");
  EXPECT_EQ(connected, "GET / HTTP/1.1|slow.test:81|\n");
}

TEST_F(ForwardProxy, RefusesWhatItCannotReachAndSaysWhy) {
  know("none.test:80", absent(false));
  know("away.test:80", absent(true));
  const std::string status = "-o /dev/null -w '%{http_code}' ";
  EXPECT_EQ(curl(status + "http://none.test/"), "404");
  EXPECT_EQ(curl(status + "http://away.test/"), "503");
  EXPECT_EQ(curl("--no-show-error -o /dev/null -p -w '%{http_connect}' http://none.test:80/"), "404");
  EXPECT_EQ(curl("--no-show-error -o /dev/null -p -w '%{http_connect}' http://away.test:80/"), "503");
  EXPECT_EQ(curl(status + "http://127.0.0.1:4140/"), "508") << "would come back for ever";
  EXPECT_EQ(curl(status + "http://none.test/ --request-target https://none.test/"), "400");
  EXPECT_EQ(curl(status + "http://none.test/ --request-target /"), "400") << "no URL";
  EXPECT_EQ(curl(status + "http://none.test/ --request-target http://user@none.test/"), "400");
}

TEST_F(ForwardProxy, TakesRequestsThatKnowOfNoProxyWhereTheyWereDialled) {
  entry_ = listen(lab_.plain(nginx_.address()));
  EXPECT_EQ(run_command("curl -sS -m 20 http://" + entry_.to_string() + "/a").out,
            "GET /a HTTP/1.1|" + entry_.to_string() + "|\n");
}

TEST(Authority, IsANameOrAnAddressWithAPort) {
  const auto read = [](std::string_view text, std::uint16_t port) {
    const auto target = parse_authority(text, port);
    if (!target) return std::string("refused");
    return target->host.empty() ? target->address.to_string()
                                : target->host + ":" + std::to_string(target->address.port);
  };
  EXPECT_EQ(read("Web.Shop.svc.cluster.local.", 80), "web.shop.svc.cluster.local:80");
  EXPECT_EQ(read("web:8080", 80), "web:8080");
  EXPECT_EQ(read("web:", 80), "web:80");
  EXPECT_EQ(read("10.1.2.3", 80), "10.1.2.3:80");
  EXPECT_EQ(read("[::1]:8080", 80), "[::1]:8080");
  EXPECT_EQ(read("[::1]", 80), "[::1]:80");
  for (const char* bad : {"", ":80", "web:0", "web:65536", "web:x", "web:-1", "user@web", "we b", "::1",
                          "[10.1.2.3]", "[::1", "a/b", "web:80:90"})
    EXPECT_EQ(read(bad, 80), "refused") << bad;
  EXPECT_EQ(read("web", 0), "refused") << "CONNECT has no usual port";
}

}  // namespace
}  // namespace heddle::proxy
