// SPDX-License-Identifier: Apache-2.0
#include <random>

#include "proxy/http/h2_client.h"
#include "proxy/http/h2_server.h"
#include "tests/unit/http/in_memory.h"

// The linker puts it between nghttp2 and whoever calls it (--wrap), by these names.
// NOLINTBEGIN(bugprone-reserved-identifier)
namespace {
std::size_t resumed = 0;
}
extern "C" {
int __real_nghttp2_session_resume_data(nghttp2_session* session, std::int32_t id);
int __wrap_nghttp2_session_resume_data(nghttp2_session* session, std::int32_t id) {
  ++resumed;
  return __real_nghttp2_session_resume_data(session, id);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace heddle::proxy::http {
namespace {

// A byte stream's user with checksummed data both ways and an end of its own choosing.
class Flow final : private StreamEvents {
 public:
  Flow(TestLoop& loop, std::unique_ptr<Stream> stream, std::size_t to_send, std::uint32_t seed)
      : loop_(loop), stream_(std::move(stream)), to_send_(to_send), random_(seed) {
    stream_->set_events(this);
    self_ = std::make_shared<Flow*>(this);
    go_on();
  }
  ~Flow() { *self_ = nullptr; }
  bool finished() const { return (ended && sent == to_send_) || error != 0; }
  void reset() {
    stream_->reset();
    error = ECONNRESET;
  }
  std::size_t sent = 0, received = 0, hash_sent = 0, hash_received = 0;
  bool ended = false;
  int error = 0;
  bool deaf = false;

  void go_on() {
    loop_.loop.defer([self = self_] {
      if (*self == nullptr) return;
      (*self)->on_readable();
      if (*self != nullptr) (*self)->on_writable();
    });
  }
  std::size_t buffered() const { return stream_->buffered(); }

 private:
  void on_readable() override {
    std::array<std::byte, 10'000> buffer;
    while (!deaf && error == 0 && !ended) {
      const IoResult result = stream_->read(buffer);
      if (result.status == IoStatus::would_block) return;
      if (result.status == IoStatus::error) error = result.error;
      if (result.status == IoStatus::eof) ended = true;
      for (std::size_t i = 0; result.status == IoStatus::ok && i < result.size; ++i)
        hash_received = hash_received * 31 + static_cast<std::size_t>(buffer[i]);
      if (result.status == IoStatus::ok) received += result.size;
    }
  }
  void on_writable() override {
    while (sent < to_send_ && error == 0) {
      if (piece_.empty()) {
        piece_.resize(std::min<std::size_t>(to_send_ - sent, 1 + random_() % 5000));
        for (char& c : piece_) c = static_cast<char>(random_());
      }
      const iovec part{piece_.data(), piece_.size()};
      const IoResult result = stream_->write(std::span(&part, 1));
      if (result.status == IoStatus::error) error = result.error;
      if (result.status != IoStatus::ok) return;
      for (std::size_t i = 0; i < result.size; ++i)
        hash_sent = hash_sent * 31 + static_cast<std::size_t>(std::byte(piece_[i]));
      sent += result.size;
      piece_.erase(0, result.size);
    }
    if (sent == to_send_ && error == 0) stream_->finish_writes();
  }
  TestLoop& loop_;
  std::unique_ptr<Stream> stream_;
  const std::size_t to_send_;
  std::mt19937 random_;
  std::string piece_;
  std::shared_ptr<Flow*> self_;
};

class MeshPair : public ::testing::Test, public H2ClientOwner, public TunnelHandler {
 protected:
  MeshPair() {
    resumed = 0;
    auto [ours, theirs] = make_pipe(loop_.loop, 256 * 1024);
    server_ = make_h2_server(loop_.engine, std::move(theirs), answerer_, owner_, mesh_settings(), this);
    client_ = std::make_unique<H2Client>(loop_.engine, std::move(ours), *this, mesh_settings(), true);
    loop_.settle();
  }
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override { ++client_closed_; }
  std::string check_tunnel(std::string_view authority, std::string_view client) override {
    seen_client_ = client;
    return authority == "10.0.0.1:80" ? "" : "not for this address";
  }
  void open_tunnel(std::string_view, std::unique_ptr<Stream> stream) override {
    accepted_.push_back(std::move(stream));
  }

  TestLoop loop_;
  Answerer answerer_;
  Owner owner_;
  std::unique_ptr<ServerCodec> server_;
  std::unique_ptr<H2Client> client_;
  std::vector<std::unique_ptr<Stream>> accepted_;
  std::string seen_client_;
  int client_closed_ = 0;
};

TEST_F(MeshPair, CarriesAnHttp1RequestWithItsVersion) {
  const RequestHead head =
      request("POST /a?b HTTP/1.1\r\nHost: Web\r\nX-Upper: V\r\nContent-Length: 3\r\n\r\n");
  Asker asker;
  asker.peer = client_->start(head, false, asker);
  asker.peer->data(bytes_of("abc"), true);
  ASSERT_TRUE(loop_.until([&] { return answerer_.ended; }));
  EXPECT_EQ(answerer_.content, "abc");
  EXPECT_EQ(answerer_.target, "/a?b");
  EXPECT_EQ(answerer_.authority, "Web");
  EXPECT_EQ(answerer_.fields.find("x-upper"), "V");
  EXPECT_EQ(answerer_.fields.find("l5d-orig-proto"), "HTTP/1.1");
  answerer_.answer(201, "done");
  ASSERT_TRUE(loop_.until([&] { return asker.over; }));
  EXPECT_EQ(asker.status, 201);
  EXPECT_EQ(asker.content, "done");
}

TEST_F(MeshPair, CarriesTrailersBothWays) {
  const RequestHead head = request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  Asker asker;
  asker.peer = client_->start(head, false, asker);
  Fields trailers;
  trailers.add("t", "up");
  asker.peer->trailers(std::move(trailers));
  ASSERT_TRUE(loop_.until([&] { return answerer_.ended; }));
  EXPECT_EQ(answerer_.trailing.find("t"), "up");
  ResponseHead response;
  response.status = 200;
  answerer_.requester->respond(response, false);
  answerer_.finish([](ResponsePeer& to) {
    Fields back;
    back.add("grpc-status", "0");
    to.trailers(std::move(back));
  });
  ASSERT_TRUE(loop_.until([&] { return asker.over; }));
  EXPECT_EQ(asker.trailing.find("grpc-status"), "0");
}

TEST_F(MeshPair, EndsMessagesWhoseTrailersAreTooLongInsteadOfCuttingThem) {
  const auto too_long = [] {
    Fields trailers;
    for (int i = 0; i < 20; ++i) trailers.add("x-" + std::to_string(i), std::string(1000, 'v'));
    trailers.add("grpc-status", "0");
    return trailers;
  };
  const RequestHead head = request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  Asker up;
  up.peer = client_->start(head, false, up);
  up.peer->trailers(too_long());
  ASSERT_TRUE(loop_.until([&] { return up.over; }));
  EXPECT_TRUE(up.aborted);
  EXPECT_FALSE(answerer_.ended) << "the request would look whole";
  Asker down;
  down.peer = client_->start(head, false, down);
  down.peer->data({}, true);
  ASSERT_TRUE(loop_.until([&] { return answerer_.ended; }));
  ResponseHead response;
  response.status = 200;
  answerer_.requester->respond(response, false);
  answerer_.finish([&](ResponsePeer& to) { to.trailers(too_long()); });
  ASSERT_TRUE(loop_.until([&] { return down.over; }));
  EXPECT_TRUE(down.aborted);
  EXPECT_EQ(client_closed_, 0) << "other streams go on";
}

TEST_F(MeshPair, StopsASenderAtTheWindowAndNobodyElse) {
  const RequestHead head = request("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  answerer_.consume = false;
  Asker slow;
  slow.peer = client_->start(head, false, slow);
  const std::string block(60'000, 'x');
  slow.peer->data(bytes_of(block), false);
  loop_.settle();
  EXPECT_EQ(slow.credit, 60'000u) << "the bytes left this side";
  slow.peer->data(bytes_of(block), false);
  loop_.settle();
  EXPECT_LE(answerer_.unconsumed, 64u * 1024);
  EXPECT_LT(slow.credit, 120'000u);
  ResponsePeer* slow_requester = answerer_.requester;
  answerer_.requester = nullptr;
  const std::size_t held = std::exchange(answerer_.unconsumed, 0);
  Asker other;
  other.peer = client_->start(request("GET /other HTTP/1.1\r\nHost: a\r\n\r\n"), true, other);
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 2; }));
  answerer_.answer(200, "quick");
  EXPECT_TRUE(loop_.until([&] { return other.over; }));
  answerer_.requester = slow_requester;
  slow_requester->consumed(held);
  answerer_.consume = true;
  EXPECT_TRUE(loop_.until([&] { return slow.credit == 120'000; }));
  slow.peer->abort(Abort::cancelled);
  EXPECT_TRUE(loop_.until([&] { return answerer_.aborted; }));
}

TEST_F(MeshPair, TellsBothSidesWhenTheConnectionBreaks) {
  Asker asker;
  asker.peer = client_->start(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true, asker);
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  server_->abort();
  EXPECT_TRUE(answerer_.aborted);
  ASSERT_TRUE(loop_.until([&] { return client_closed_ == 1; }));
  EXPECT_EQ(asker.aborted, Abort::stale);
}

TEST_F(MeshPair, FinishesRunningRequestsWhenDraining) {
  Asker asker;
  asker.peer = client_->start(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true, asker);
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  server_->drain();
  ASSERT_TRUE(loop_.until([&] { return client_->retired(); }));
  EXPECT_FALSE(client_->available());
  answerer_.answer(200, "last");
  ASSERT_TRUE(loop_.until([&] { return asker.over; }));
  EXPECT_EQ(asker.content, "last");
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
}

// A node's proxy is replaced: what is being opened at that moment was neither refused nor is it lost.
TEST_F(MeshPair, ServesATunnelThatWasOpenedJustBeforeTheNoticeOfAShutdownCame) {
  struct Opening final : TurnItem {
    void on_turn() override { stream = client->open_tunnel("10.0.0.1:80", "1.2.3.4:5"); }
    H2Client* client = nullptr;
    std::unique_ptr<Stream> stream;
  };
  Opening opening;
  opening.client = client_.get();
  // In one turn: the notice is written, the tunnel opened. It is to go out with the next turn; the notice
  // comes before that.
  server_->drain();
  loop_.engine.schedule(opening);
  ASSERT_TRUE(loop_.until([&] { return client_->retired(); }));
  ASSERT_NE(opening.stream, nullptr);
  Talker near(std::move(opening.stream));
  near.say("ping");
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == 1 || near.error != 0; }));
  ASSERT_EQ(near.error, 0);
  Talker far(std::move(accepted_[0]));
  far.say("pong");
  EXPECT_TRUE(loop_.until([&] { return far.heard == "ping" && near.heard == "pong"; }));
}

TEST_F(MeshPair, RefusesATunnelToAnotherAddress) {
  auto stream = client_->open_tunnel("10.0.0.2:80", "1.2.3.4:5");
  Talker talker(std::move(stream));
  EXPECT_TRUE(loop_.until([&] { return talker.error == ECONNREFUSED; }));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(MeshPair, CarriesAThousandTunnelsWithHalfClosesAndResets) {
  std::mt19937 random(7);
  constexpr std::size_t count = 1000;
  std::vector<std::unique_ptr<Flow>> near, far;
  for (std::size_t i = 0; i < count; ++i) {
    near.push_back(std::make_unique<Flow>(loop_, client_->open_tunnel("10.0.0.1:80", "1.2.3.4:5"),
                                          random() % 100'000, random()));
  }
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == count; }));
  EXPECT_EQ(seen_client_, "1.2.3.4:5");
  for (auto& stream : accepted_)
    far.push_back(std::make_unique<Flow>(loop_, std::move(stream), random() % 100'000, random()));
  for (std::size_t i = 0; i < count; i += 10) (i % 20 == 0 ? near : far)[i]->reset();
  const auto all_done = [&] {
    for (std::size_t i = 0; i < count; ++i) {
      if (!near[i]->finished() || !far[i]->finished()) return false;
    }
    return true;
  };
  const auto stuck = [&] {
    std::string text;
    for (std::size_t i = 0; i < count && text.size() < 2000; ++i) {
      if (near[i]->finished() && far[i]->finished()) continue;
      for (const auto* flow : {near[i].get(), far[i].get()})
        text += std::to_string(i) + ": sent " + std::to_string(flow->sent) + " received " +
                std::to_string(flow->received) + " ended " + std::to_string(flow->ended) + " error " +
                std::to_string(flow->error) + "\n";
    }
    return text;
  };
  ASSERT_TRUE(loop_.until(all_done, std::chrono::seconds(30))) << stuck();
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 10 == 0) continue;  // reset at any moment: both sides came to an end, which is what counts
    EXPECT_EQ(near[i]->error, 0) << i;
    EXPECT_EQ(near[i]->hash_sent, far[i]->hash_received) << i;
    EXPECT_EQ(far[i]->hash_sent, near[i]->hash_received) << i;
    EXPECT_EQ(near[i]->sent, far[i]->received) << i;
  }
  near.clear();
  far.clear();
  EXPECT_TRUE(loop_.until([&] { return client_->streams() == 0; })) << client_->streams();
}

TEST_F(MeshPair, OutlivesThousandsOfTunnelsThatAppsReset) {
  Flow lasting(loop_, client_->open_tunnel("10.0.0.1:80", ""), 1'000, 1);
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == 1; }));
  Flow far(loop_, std::move(accepted_.front()), 0, 2);
  accepted_.clear();
  for (int round = 0; round < 40; ++round) {
    std::vector<std::unique_ptr<Stream>> brief;
    for (int i = 0; i < 100; ++i) brief.push_back(client_->open_tunnel("10.0.0.1:80", ""));
    ASSERT_TRUE(loop_.until([&] { return accepted_.size() == brief.size() || client_closed_ > 0; }));
    for (auto& stream : brief) stream->reset();
    ASSERT_TRUE(loop_.until([&] { return client_->streams() <= 1 || client_closed_ > 0; }));
    accepted_.clear();
    ASSERT_EQ(client_closed_, 0) << "after " << round * 100 << " resets the connection ended";
  }
  EXPECT_TRUE(loop_.until([&] { return lasting.finished() && far.ended; }));
  EXPECT_EQ(lasting.hash_sent, far.hash_received);
  EXPECT_EQ(far.error, 0);
}

TEST_F(MeshPair, PutsNoStreamOffWhileItSendsFromAnother) {
  constexpr std::size_t count = 500;
  std::vector<std::unique_ptr<Flow>> near, far;
  for (std::size_t i = 0; i < count; ++i)
    near.push_back(std::make_unique<Flow>(loop_, client_->open_tunnel("10.0.0.1:80", ""), 100'000, i));
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == count; }));
  for (auto& stream : accepted_) far.push_back(std::make_unique<Flow>(loop_, std::move(stream), 0, 1));
  ASSERT_TRUE(loop_.until([&] { return std::ranges::all_of(far, [](auto& flow) { return flow->ended; }); },
                          std::chrono::seconds(30)));
  EXPECT_LT(resumed, 5 * count) << "each stream is looked at with every write of the connection";
}

TEST_F(MeshPair, HoldsAtMostTheWindowsForATunnelThatNobodyReads) {
  Flow near(loop_, client_->open_tunnel("10.0.0.1:80", ""), 50'000'000, 1);
  ASSERT_TRUE(loop_.until([&] { return accepted_.size() == 1; }));
  Flow far(loop_, std::move(accepted_.front()), 0, 2);
  far.deaf = true;
  for (int i = 0; i < 50; ++i) loop_.settle();
  EXPECT_LE(near.sent, 3u * 64 * 1024 + 300'000) << "the stream's window, what write() takes ahead, the pipe";
  far.deaf = false;
  far.go_on();
  EXPECT_TRUE(loop_.until([&] { return near.finished() && far.ended; }, std::chrono::seconds(60)));
  EXPECT_EQ(near.hash_sent, far.hash_received);
}

}  // namespace
}  // namespace heddle::proxy::http
