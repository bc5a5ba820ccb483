// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "control/source/kubernetes/tls.h"

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
// From one look at whether the program gave something to the next.
constexpr std::chrono::milliseconds plugin_look_up{20};
// Of one question: a server that goes on turning it away is away.
constexpr int most_attempts = 3;

// Empty: none is sent.
Result<std::string> token_of(const Access& access, const ExecCredential* given) {
  if (!access.token.empty()) return read_token(access.token);
  return given == nullptr ? std::string() : given->token;
}

std::string authority_of(const Access& access) {
  const bool v6 = access.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + access.host + "]" : access.host;
  return access.port == 443 ? host : host + ":" + std::to_string(access.port);
}

Exchanged failed(const Error& why) {
  return {why, false, false};
}

}  // namespace

asio::awaitable<Result<Answer>> Client::call(Request request) {
  co_return co_await ask(std::move(request), nullptr);
}

asio::awaitable<Result<Answer>> Client::get(std::string target) {
  Request request;
  request.target = std::move(target);
  co_return co_await ask(std::move(request), nullptr);
}

asio::awaitable<Result<Answer>> Client::watch(std::string target, const Sink& sink) {
  Request request;
  request.target = std::move(target);
  co_return co_await ask(std::move(request), &sink);
}

asio::awaitable<Result<Answer>> Client::ask(Request asked, const Sink* sink) {
  bool repeated = false;
  for (int attempt = 1;; ++attempt) {
    auto outcome = co_await ask_once(asked, sink);
    Exchanged& got = outcome.got;
    if (got.answer || attempt == most_attempts) co_return std::move(got.answer);
    // Time-outs and cancellation end the question, not the connection alone.
    const auto& code = got.answer.error().code;
    if (code == Errc::timeout || code == asio::error::operation_aborted) co_return std::move(got.answer);
    if (got.untouched) continue;
    // A new connection that is lost is no accident of idleness.
    const bool lost = !outcome.fresh && !got.heard && asked.method == "GET" && !repeated;
    if (!lost) co_return std::move(got.answer);
    repeated = true;
  }
}

asio::awaitable<Client::Asked> Client::ask_once(const Request& asked, const Sink* sink) {
  if (own_ && own_->over()) own_.reset();
  if (!own_) connections_->refresh();
  const auto access = connections_->access();
  auto given = co_await credential(access);
  if (!given) co_return Asked{failed(given.error()), true};
  auto token = token_of(*access, given->get());
  if (!token) co_return Asked{failed(token.error()), true};
  Outgoing outgoing{asked, authority_of(*access), std::move(*token)};
  outgoing.request.target = access->path_prefix + asked.target;
  Connections::Opened opened;
  if (!own_) {
    auto made = co_await connections_->open(*given);
    if (!made) co_return Asked{failed(made.error()), true};
    opened = std::move(*made);
  }
  auto out = co_await ask_over(std::move(opened), outgoing, sink);
  const bool refused = out.got.answer && out.got.answer->status == 401;
  if (refused && *given != nullptr) access->credentials->refuse(*given);
  co_return out;
}

// A certificate is presented, and the kubeconfig read, when connecting only: after a 401 that is done anew.
asio::awaitable<Client::Asked> Client::ask_over(Connections::Opened opened, const Outgoing& asked,
                                                const Sink* sink) {
  if (opened.own) own_ = std::make_unique<H1Connection>(std::move(opened.own), connections_->timeouts());
  if (opened.shared == nullptr) co_return co_await ask_own(asked, sink, opened.fresh);
  auto got = co_await opened.shared->exchange(asked, sink);
  if (got.answer && got.answer->status == 401) opened.shared->retire();
  co_return Asked{std::move(got), opened.fresh};
}

asio::awaitable<Client::Asked> Client::ask_own(const Outgoing& asked, const Sink* sink, bool fresh) {
  auto got = co_await own_->exchange(asked, sink);
  const bool keep = got.answer && got.answer->status != 401 && own_->reusable();
  if (!keep) own_.reset();
  co_return Asked{std::move(got), fresh};
}

// Once per question, so that its connection and its token are of one credential.
asio::awaitable<Result<std::shared_ptr<const ExecCredential>>> Client::credential(
    std::shared_ptr<const Access> access) {
  const auto& credentials = access->credentials;
  if (credentials == nullptr || !access->token.empty() || !access->certificate.empty()) co_return nullptr;
  auto given = credentials->get();
  while (!given) {
    asio::steady_timer timer(connections_->context(), plugin_look_up);
    co_await timer.async_wait(awaited);
    given = credentials->get();
  }
  co_return std::move(*given);
}

}  // namespace heddle::source::kubernetes
