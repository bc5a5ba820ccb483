// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/http_bucket.h"

#include <algorithm>
#include <utility>

namespace heddle::proxy {

HttpBucket::~HttpBucket() {
  for (auto& client : h1_) client->close();
  for (auto& client : h2_) client->close();
}

http::Client* HttpBucket::acquire(http::ClientWaiter& waiter) {
  if (!idle_.empty()) {
    http::H1Client* client = idle_.back().client;
    idle_.pop_back();
    return client;
  }
  for (auto& client : h2_) {
    if (client->available()) return client.get();
  }
  waiters_.push(waiter);
  connect_more();
  return nullptr;
}

void HttpBucket::connect_more() {
  if (waiters_.empty()) return;
  // HTTP/2: one connection serves everybody who waits, unless it turns out to be full.
  const std::size_t wanted = limits_.http2 ? 1 : waiters_.size();
  while (connecting_ < wanted && (limits_.http2 || h1_.size() + connecting_ < limits_.max_h1)) {
    ++connecting_;
    connect();
  }
}

void HttpBucket::h1_connected(std::unique_ptr<Stream> stream) {
  --connecting_;
  h1_.push_back(std::make_unique<http::H1Client>(engine_, std::move(stream), *this, budget_));
  client_idle(*h1_.back());
}

void HttpBucket::h2_connected(std::unique_ptr<Stream> stream, bool mesh) {
  --connecting_;
  h2_.push_back(
      std::make_unique<http::H2Client>(engine_, std::move(stream), *this, limits_.h2, mesh, budget_));
  client_available(*h2_.back());
}

void HttpBucket::connect_ended() {
  --connecting_;
  connect_more();
}

void HttpBucket::connect_failed(const Error& error) {
  --connecting_;
  // An HTTP/1 connection was for one request, and those for whom another attempt runs go on waiting. Requests
  // of now, not those that their failing brings.
  const std::size_t covered = limits_.http2 ? 0 : connecting_;
  std::size_t failing = waiters_.size() > covered ? waiters_.size() - covered : 0;
  if (!limits_.http2) failing = std::min<std::size_t>(failing, 1);
  while (failing-- > 0) {
    http::ClientWaiter* waiter = waiters_.pop();
    if (waiter == nullptr) break;
    waiter->client_failed(error);
  }
  if (!limits_.http2) connect_more();
}

void HttpBucket::client_idle(http::H1Client& client) {
  if (http::ClientWaiter* waiter = waiters_.pop()) return waiter->client_ready(client);
  if (draining_ || idle_.size() >= limits_.max_idle) {
    client.close();
    return client_closed(client);
  }
  idle_.push_back({&client, engine_.now()});
}

void HttpBucket::client_closed(http::H1Client& client) {
  std::erase_if(idle_, [&](const Idle& idle) { return idle.client == &client; });
  const auto found =
      std::find_if(h1_.begin(), h1_.end(), [&](const auto& held) { return held.get() == &client; });
  if (found == h1_.end()) return;
  engine_.bury(std::move(*found));
  *found = std::move(h1_.back());
  h1_.pop_back();
  connect_more();
}

void HttpBucket::client_available(http::H2Client& client) {
  while (!waiters_.empty() && client.available()) waiters_.pop()->client_ready(client);
  // The peer allows no more streams: whoever still waits gets another connection.
  if (!waiters_.empty() && !client.available()) connect_more();
}

void HttpBucket::client_closed(http::H2Client& client) {
  const auto found =
      std::find_if(h2_.begin(), h2_.end(), [&](const auto& held) { return held.get() == &client; });
  if (found == h2_.end()) return;
  engine_.bury(std::move(*found));
  h2_.erase(found);
  connect_more();
}

bool HttpBucket::sweep(Clock::time_point now) {
  // The longest idle are in front.
  std::size_t expired = 0;
  while (expired < idle_.size() && (draining_ || now - idle_[expired].since >= limits_.idle_h1)) ++expired;
  for (std::size_t i = 0; i < expired; ++i) {
    http::H1Client& client = *idle_.front().client;
    client.close();
    client_closed(client);
  }
  for (auto& client : h2_) {
    if (client->streams() == 0 && !client->retired() &&
        (draining_ || now - client->idle_since() >= limits_.idle_h2))
      client->retire();
  }
  return h1_.empty() && h2_.empty() && connecting_ == 0 && waiters_.empty() && nothing_else_waits();
}

bool HttpBucket::has_streams() const {
  return std::any_of(h2_.begin(), h2_.end(), [](const auto& client) { return client->streams() != 0; });
}

void HttpBucket::fail_waiters(const Error& error) {
  while (http::ClientWaiter* waiter = waiters_.pop()) waiter->client_failed(error);
}

void HttpBucket::drain() {
  draining_ = true;
  sweep(engine_.now());
}

}  // namespace heddle::proxy
