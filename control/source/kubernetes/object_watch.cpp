// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/object_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "base/backoff.h"
#include "control/source/kubernetes/client.h"
#include "control/source/kubernetes/watch_decoder.h"

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr Backoff::Policy outage{std::chrono::milliseconds(200), std::chrono::seconds(5), 0.5};
constexpr std::chrono::minutes after_refusal{5};
constexpr int seconds_of_watch = 300;

// From any state that the server has, and it is told first: what was missed between two watches is news too.
std::string target_of(const ObjectName& object) {
  return object.collection + "?fieldSelector=metadata.name%3D" + object.name +
         "&watch=1&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=" +
         std::to_string(seconds_of_watch);
}

// Takes what a watch brings.
class Listening {
 public:
  explicit Listening(ObjectNews& news) : news_(news) {}

  Result<> take(std::string_view bytes) {
    if (bytes.empty() && !news_.set_watching(true)) news_.tell();
    bool over = false;
    auto fed = decoder_.feed(bytes, [&](const WatchEvent& event) {
      over |= event.type == WatchEvent::Type::error;
      if (event.type != WatchEvent::Type::bookmark) news_.tell();
      heard_ = true;
    });
    if (fed && (over || news_.silenced())) return make_error(Errc::closed, "the watch ended");
    return fed;
  }
  bool heard() const { return heard_; }

 private:
  ObjectNews& news_;
  WatchDecoder decoder_;
  bool heard_ = false;
};

// What is refused will be refused again.
std::chrono::milliseconds pause_after(const Answer& refusal) {
  const bool later = refusal.status >= 500 || refusal.status == 401 || refusal.status == 429;
  if (!later) return after_refusal;
  return std::min<std::chrono::milliseconds>(refusal.retry_after.value_or(std::chrono::seconds(1)),
                                             after_refusal);
}

void complain(const ObjectName& object, int status, int& told) {
  if (status == told) return;
  told = status;
  spdlog::warn(
      "changes of {}/{} are found late, by looking now and then: watching it was answered {}; allow watch "
      "beside get",
      object.collection, object.name, status);
}

}  // namespace

void ObjectNews::tell() {
  const std::lock_guard lock(mutex_);
  if (told_) told_();
}

void ObjectNews::silence() {
  const std::lock_guard lock(mutex_);
  told_ = nullptr;
}

bool ObjectNews::silenced() const {
  const std::lock_guard lock(mutex_);
  return !told_;
}

asio::awaitable<void> watch_object(std::shared_ptr<Connections> connections, ObjectName object,
                                   std::shared_ptr<ObjectNews> news) {
  Client client(connections);
  Backoff backoff(outage, std::random_device{}());
  int complaint = 0;  // the status that was last told of
  while (!news->silenced()) {
    Listening listening(*news);
    const Client::Sink sink = [&](std::string_view bytes) { return listening.take(bytes); };
    const auto answer = co_await client.watch(target_of(object), sink);
    if (news->silenced()) co_return;
    const bool ended_well = answer && answer->status == 200;
    if (!ended_well && news->set_watching(false)) news->tell();
    auto wait = backoff.next();
    if (listening.heard()) backoff.reset();
    if (answer && !ended_well) {
      wait = std::max(wait, pause_after(*answer));
      complain(object, answer->status, complaint);
    }
    if (ended_well) complaint = 0;
    client.disconnect();
    asio::steady_timer timer(connections->context(), wait);
    co_await timer.async_wait(awaited);
  }
}

}  // namespace heddle::source::kubernetes
