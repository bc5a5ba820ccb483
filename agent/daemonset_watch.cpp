// SPDX-License-Identifier: Apache-2.0
#include "agent/daemonset_watch.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "base/backoff.h"
#include "base/log.h"
#include "control/source/kubernetes/client.h"
#include "control/source/kubernetes/watch_decoder.h"

namespace heddle::agent {
namespace {

namespace asio = boost::asio;
namespace k8s = source::kubernetes;

// The first is short: what happens between two watches is not told.
constexpr Backoff::Policy between_watches{std::chrono::milliseconds(50), std::chrono::milliseconds(30'000),
                                          0.5};
constexpr std::size_t longest_line = 1024 * 1024;

std::string text_of(const source::Value* metadata, std::string_view key) {
  const source::Value* found = metadata != nullptr ? metadata->find(key) : nullptr;
  return found != nullptr ? found->scalar : std::string();
}

}  // namespace

struct DaemonSetWatch::Impl {
  k8s::Access access;
  std::string target;
  std::string name;
  std::function<void(DaemonSetState)> seen;
  asio::io_context context{1};
  std::thread thread{};

  void take(const k8s::WatchEvent& event) const {
    using Type = k8s::WatchEvent::Type;
    if (event.type == Type::bookmark || event.type == Type::error) return;
    const source::Value* metadata = event.object.find("metadata");
    if (text_of(metadata, "name") != name) return;
    DaemonSetState state{event.type != Type::deleted, text_of(metadata, "uid"),
                         !text_of(metadata, "deletionTimestamp").empty()};
    if (!state.uid.empty()) seen(std::move(state));
  }

  asio::awaitable<void> follow() {
    k8s::Client client(std::make_shared<k8s::Connections>(context, access, k8s::Timeouts{}));
    Backoff backoff(between_watches);
    while (true) {
      k8s::WatchDecoder decoder(longest_line);
      const auto visit = [this](const k8s::WatchEvent& event) { take(event); };
      const k8s::Client::Sink sink = [&](std::string_view bytes) {
        if (bytes.empty()) backoff.reset();
        return decoder.feed(bytes, visit);
      };
      const auto answer = co_await client.watch(target, sink);
      if (!answer) spdlog::debug("own DaemonSet not watched reason=\"{}\"", answer.error().message());
      asio::steady_timer timer(context, backoff.next());
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }
};

DaemonSetWatch::DaemonSetWatch(k8s::Access access, const std::string& ns, const std::string& name,
                               std::function<void(DaemonSetState)> seen)
    : impl_(new Impl{std::move(access),
                     // Without a resourceVersion a watch begins with what there is.
                     "/apis/apps/v1/namespaces/" + ns + "/daemonsets?watch=1&fieldSelector=metadata.name%3D" +
                         name + "&timeoutSeconds=600&allowWatchBookmarks=true",
                     name, std::move(seen)}) {
  asio::co_spawn(impl_->context, impl_->follow(), asio::detached);
  impl_->thread = std::thread([impl = impl_.get()] { impl->context.run(); });
}

DaemonSetWatch::~DaemonSetWatch() {
  impl_->context.stop();
  impl_->thread.join();
}

}  // namespace heddle::agent
