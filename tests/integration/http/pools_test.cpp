// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "proxy/http/client_waiter.h"
#include "tests/integration/http/proxy_lab.h"
#include "tests/support/eventually.h"

namespace heddle::proxy {
namespace {

// Answers every request, and counts its connections that are open.
struct CountingApp {
  explicit CountingApp(ProxyLab& lab)
      : address(lab.listen(lab.server(), [this](Worker&, SocketAddress, auto stream) {
          ++opened;
          all.push_back(std::make_unique<One>(*this, std::move(stream)));
        })) {}
  struct One final : StreamEvents {
    One(CountingApp& owner, std::unique_ptr<Stream> taken) : app(owner), stream(std::move(taken)) {
      stream->set_events(this);
    }
    void on_readable() override {
      std::array<std::byte, 4096> buffer;
      while (!over) {
        const IoResult result = stream->read(buffer);
        if (result.status == IoStatus::would_block) return;
        if (result.status != IoStatus::ok) {
          over = true;
          ++app.closed;
          return;
        }
        std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        const iovec part{answer.data(), answer.size()};
        (void)stream->write(std::span(&part, 1));
      }
    }
    void on_writable() override {}
    CountingApp& app;
    std::unique_ptr<Stream> stream;
    bool over = false;
  };
  // On its loop, which dies with the lab.
  void close(ProxyLab& lab) {
    std::promise<void> done;
    lab.server().loop.post([&] {
      all.clear();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::vector<std::unique_ptr<One>> all;
  std::atomic<int> opened{0}, closed{0};
  SocketAddress address;
};

struct Waiter final : http::ClientWaiter {
  void client_ready(http::Client&) override { ++ready; }
  void client_failed(const Error&) override { ++failed; }
  int ready = 0, failed = 0;
};

TEST(Pools, CloseTheConnectionsOfAPodThatLeftAtOnceAndNoOthers) {
  ProxyLab lab;
  const auto app = std::make_unique<CountingApp>(lab);
  const auto far = lab.listen_mesh(app->address);
  const auto entry = lab.listen_outbound(lab.meshed({far}), Protocol::http1);
  const auto plain = lab.listen_outbound(lab.plain(app->address), Protocol::http1);
  for (const SocketAddress& each : {entry, plain})
    ASSERT_EQ(run_command("curl -sS -m 5 http://" + each.to_string() + "/").out, "ok");
  // One pooled by the server's pod for the mesh, one by the client's pod in plaintext.
  ASSERT_EQ(app->opened, 2);
  const auto forget = [&lab](std::uint32_t pod) {
    lab.run([&] {
      lab.client().mesh_pool->forget(pod);
      lab.client().http_pool->forget(pod);
    });
  };
  forget(77);
  EXPECT_EQ(run_command("curl -sS -m 5 http://" + plain.to_string() + "/").out, "ok");
  EXPECT_EQ(app->opened, 2) << "another pod's leaving is nothing to this one";
  forget(lab.client_pod->id);
  EXPECT_TRUE(test::eventually([&] { return app->closed == 1; }));
  EXPECT_EQ(run_command("curl -sS -m 5 http://" + plain.to_string() + "/").out, "ok");
  EXPECT_EQ(app->opened, 3);
  app->close(lab);
}

TEST(Pools, TellWhoWaitsThatThePodLeft) {
  ProxyLab lab;
  const auto app = std::make_unique<CountingApp>(lab);
  auto waiter = std::make_unique<Waiter>();
  lab.run([&] {
    EXPECT_EQ(lab.client().http_pool->acquire({lab.client_pod, app->address, false, std::nullopt}, *waiter),
              nullptr);
    lab.client().http_pool->forget(lab.client_pod->id);
    EXPECT_EQ(waiter->failed, 1);
    EXPECT_FALSE(waiter->waiting());
  });
  EXPECT_EQ(waiter->ready, 0);
  app->close(lab);
}

}  // namespace
}  // namespace heddle::proxy
