// SPDX-License-Identifier: Apache-2.0
#include "proxy/pods/byte_budget.h"

#include "proxy/http/h1_format.h"
#include "proxy/http/h2_client.h"
#include "proxy/http/h2_server.h"
#include "tests/unit/http/in_memory.h"

namespace heddle::proxy::http {
namespace {

constexpr std::size_t limit = 1024 * 1024;

TEST(ByteBudget, SharesWhatIsLeftAndKeepsATrickle) {
  const auto load = std::make_shared<PodLoad>();
  load->limits.buffered_bytes = limit;
  const ByteBudget budget(load);
  EXPECT_EQ(budget.read_size(65'536), 65'536u) << "nothing held: no need to be careful";
  load->buffered_bytes = limit / 2;
  EXPECT_EQ(budget.read_size(65'536), (limit - limit / 8 - limit / 2) / 32);
  EXPECT_TRUE(budget.tight());
  EXPECT_FALSE(budget.nearly_full());
  load->buffered_bytes = limit - limit / 8;
  EXPECT_EQ(budget.read_size(65'536), ByteBudget::least_read);
  EXPECT_EQ(budget.read_size(100), 100u);
  EXPECT_EQ(budget.content_room(65'536, 0), ByteBudget::least_read);
  EXPECT_EQ(budget.content_room(65'536, 1), 0u) << "what it got before has not left";
  EXPECT_FALSE(budget.full());
  load->buffered_bytes = limit;
  EXPECT_TRUE(budget.full());
}

TEST(ByteBudget, WithoutAPodAllowsEverything) {
  const ByteBudget budget;
  EXPECT_EQ(budget.read_size(65'536), 65'536u);
  EXPECT_EQ(budget.content_room(65'536, 65'535), 1u);
  EXPECT_FALSE(budget.tight());
}

TEST(HeldBytes, TellsLargeAmountsAtOnceAndNothingExactly) {
  const auto load = std::make_shared<PodLoad>();
  {
    HeldBytes held{ByteBudget(load)};
    held.add(1000);
    EXPECT_EQ(load->buffered_bytes, 0u) << "what comes and goes in a turn costs nothing";
    held.add(1000);
    EXPECT_EQ(load->buffered_bytes, 2000u);
    held.remove(1);
    EXPECT_EQ(load->buffered_bytes, 2000u);
    held.set(0);
    EXPECT_EQ(load->buffered_bytes, 0u);
    held.add(5000);
  }
  EXPECT_EQ(load->buffered_bytes, 0u) << "gone with its holder";
}

// A client's HTTP/2 connection of a pod, towards a server-side codec of the same pod.
class Accounted : public ::testing::Test, public H2ClientOwner, public TunnelHandler {
 protected:
  Accounted() {
    load_->limits.buffered_bytes = limit;
    auto [ours, theirs] = make_pipe(loop_.loop, 64 * 1024);
    // Only the server's side is accounted: what the client holds would be another pod's.
    server_ = make_h2_server(loop_.engine, std::move(theirs), answerer_, owner_, mesh_settings(), this,
                             ByteBudget(load_));
    client_ = std::make_unique<H2Client>(loop_.engine, std::move(ours), *this, mesh_settings(), true);
    loop_.settle();
  }
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override {}
  std::string check_tunnel(std::string_view, std::string_view) override { return {}; }
  void open_tunnel(std::string_view, std::unique_ptr<Stream> stream) override {
    accepted_.push_back(std::move(stream));
  }
  void settle_and_watch() {
    for (int i = 0; i < 40; ++i) {
      loop_.settle();
      most_ = std::max(most_, load_->buffered_bytes.load());
    }
  }

  std::shared_ptr<PodLoad> load_ = std::make_shared<PodLoad>();
  TestLoop loop_;
  Answerer answerer_;
  Owner owner_;
  std::unique_ptr<ServerCodec> server_;
  std::unique_ptr<H2Client> client_;
  std::vector<std::unique_ptr<Stream>> accepted_;
  std::size_t most_ = 0;
};

TEST_F(Accounted, TunnelsThatNobodyReadsStayWithinTheLimitAndGoOn) {
  constexpr std::size_t count = 100;
  const std::string block(200'000, 't');
  std::vector<std::unique_ptr<Talker>> near, far;
  for (std::size_t i = 0; i < count; ++i) {
    near.push_back(std::make_unique<Talker>(client_->open_tunnel("10.0.0.1:80", "")));
    near.back()->say(block);
  }
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == count; }));
  settle_and_watch();
  EXPECT_LE(most_, limit);
  EXPECT_GT(most_, limit / 4) << "they were not counted";
  EXPECT_EQ(load_->streams_refused, 0u);
  for (auto& stream : accepted_) {
    far.push_back(std::make_unique<Talker>(std::move(stream)));
    far.back()->on_readable();
  }
  ASSERT_TRUE(loop_.until([&] {
    most_ = std::max(most_, load_->buffered_bytes.load());
    for (auto& talker : far) {
      if (talker->heard.size() != block.size()) return false;
    }
    return true;
  }));
  EXPECT_LE(most_, limit);
  EXPECT_EQ(load_->buffered_bytes, 0u);
}

TEST_F(Accounted, TunnelsWriteLessAheadToAPeerThatGivesNoWindow) {
  constexpr std::size_t count = 100;
  std::vector<std::unique_ptr<Talker>> near, far;
  for (std::size_t i = 0; i < count; ++i) {
    near.push_back(std::make_unique<Talker>(client_->open_tunnel("10.0.0.1:80", "")));
    near.back()->deaf = true;
  }
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == count; }));
  const std::string block(300'000, 't');
  for (auto& stream : accepted_) {
    far.push_back(std::make_unique<Talker>(std::move(stream)));
    far.back()->say(block);
  }
  settle_and_watch();
  EXPECT_LE(most_, limit);
  EXPECT_GT(most_, limit / 4);
  for (auto& talker : near) {
    talker->deaf = false;
    talker->on_readable();
  }
  ASSERT_TRUE(loop_.until([&] {
    most_ = std::max(most_, load_->buffered_bytes.load());
    for (auto& talker : near) {
      if (talker->heard.size() != block.size()) return false;
    }
    return true;
  }));
  EXPECT_LE(most_, limit);
  EXPECT_EQ(load_->buffered_bytes, 0u);
}

// Holds every request's content, as an app's connection would that takes nothing.
class Hoarder final : public Handler {
 public:
  explicit Hoarder(ByteBudget budget) : budget_(std::move(budget)) {}
  struct Held final : Peer {
    explicit Held(const ByteBudget& budget, ResponsePeer& from) : bytes(budget), requester(&from) {}
    void data(std::span<const std::byte> more, bool) override { bytes.add(more.size()); }
    void trailers(Fields&&) override {}
    void abort(Abort) override {
      requester = nullptr;
      bytes.set(0);
      aborted = true;
    }
    void consumed(std::size_t) override {}
    HeldBytes bytes;
    ResponsePeer* requester;
    bool aborted = false;
  };
  RequestPeer* start(RequestHead&, bool, ResponsePeer& requester) override {
    all.push_back(std::make_unique<Held>(budget_, requester));
    return all.back().get();
  }
  std::vector<std::unique_ptr<Held>> all;

 private:
  ByteBudget budget_;
};

struct Lender final : H2ClientOwner {
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override {}
};

// Answers each request at once, with content.
struct Generous final : Handler {
  RequestPeer* start(RequestHead&, bool, ResponsePeer& requester) override {
    ResponseHead head;
    head.version = Version::http2;
    head.status = 200;
    requester.respond(head, false);
    requester.data(std::as_bytes(std::span(content)), true);
    return nullptr;
  }
  const std::string content = std::string(10'000, 'c');
};

TEST(AnswersThatHaveEnded, BringNoMoreOfThemWhileThePodHoldsMuch) {
  constexpr std::size_t count = 40;
  const auto load = std::make_shared<PodLoad>();
  load->limits.buffered_bytes = limit;
  TestLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop, 64 * 1024);
  Generous app;
  Owner owner;
  Lender lender;
  auto server =
      make_h2_server(loop.engine, std::move(theirs), app, owner, mesh_settings(), nullptr, ByteBudget());
  H2Client client(loop.engine, std::move(ours), lender, mesh_settings(), true, ByteBudget(load));
  ASSERT_TRUE(loop.until([&] { return client.available(); }));
  load->buffered_bytes = limit / 2;
  RequestHead head;
  head.version = Version::http2;
  head.set_method("GET");
  head.set_target("/");
  head.set_authority("a");
  std::vector<std::unique_ptr<Asker>> askers;
  for (std::size_t i = 0; i < count; ++i) {
    askers.push_back(std::make_unique<Asker>());
    askers.back()->consume = false;  // it waits for a slow reader
    askers.back()->peer = client.start(head, true, *askers.back());
  }
  const auto got = [&] {
    std::size_t all = 0;
    for (const auto& asker : askers) all += asker->content.size();
    return all;
  };
  for (int i = 0; i < 40; ++i) loop.settle();
  EXPECT_LE(got(), limit / 16) << "more than the connection's window";
  EXPECT_GT(got(), limit / 32);
  load->buffered_bytes = 0;
  EXPECT_TRUE(loop.until([&] { return got() == count * app.content.size(); })) << got();
}

TEST(HostileUploads, AreRefusedWhenManyConnectionsFillThePodTogether) {
  TestLoop loop;
  const auto load = std::make_shared<PodLoad>();
  load->limits.buffered_bytes = limit;
  const ByteBudget budget(load);
  Hoarder app(budget);
  Owner owner;
  Lender lender;
  std::vector<std::unique_ptr<ServerCodec>> servers;
  std::vector<std::unique_ptr<H2Client>> clients;
  std::vector<std::unique_ptr<Asker>> askers;
  const std::string block(60'000, 'u');
  const RequestHead head = [] {
    RequestHead made;
    EXPECT_TRUE(parse_request_head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", made));
    EXPECT_TRUE(settle(made));
    strip_hop_by_hop(made.fields);
    return made;
  }();
  std::size_t most = 0;
  for (int i = 0; i < 40; ++i) {
    auto [ours, theirs] = make_pipe(loop.loop);
    servers.push_back(
        make_h2_server(loop.engine, std::move(theirs), app, owner, H2Settings{}, nullptr, budget));
    clients.push_back(std::make_unique<H2Client>(loop.engine, std::move(ours), lender, H2Settings{}, false));
    for (int j = 0; j < 10; ++j) {
      askers.push_back(std::make_unique<Asker>());
      askers.back()->peer = clients.back()->start(head, false, *askers.back());
      askers.back()->peer->data(bytes_of(block), false);
    }
    loop.settle();
    most = std::max(most, load->buffered_bytes.load());
  }
  EXPECT_LE(most, limit + 16 * 1024) << "one frame beyond it";
  EXPECT_GT(load->streams_refused, 0u);
  EXPECT_GE(load->limited[static_cast<std::size_t>(Limit::buffered_bytes)], load->streams_refused);
  // Who goes away gives everything back, and the pod is served again.
  for (auto& client : clients) client->close();
  ASSERT_TRUE(loop.until([&] { return load->buffered_bytes == 0; }));
  auto [ours, theirs] = make_pipe(loop.loop);
  servers.push_back(
      make_h2_server(loop.engine, std::move(theirs), app, owner, H2Settings{}, nullptr, budget));
  clients.push_back(std::make_unique<H2Client>(loop.engine, std::move(ours), lender, H2Settings{}, false));
  const std::size_t before = app.all.size();
  Asker asker;
  asker.peer = clients.back()->start(head, false, asker);
  asker.peer->data(bytes_of(block), true);
  EXPECT_TRUE(
      loop.until([&] { return app.all.size() == before + 1 && app.all.back()->bytes.bytes() == 60'000; }));
}

}  // namespace
}  // namespace heddle::proxy::http
