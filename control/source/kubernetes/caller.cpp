// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/caller.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <map>
#include <thread>
#include <vector>

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);

// Servers and balancers end what is idle; a change sent on such a connection may or may not have been made.
constexpr std::chrono::seconds longest_idle{1};
// Those of HTTP/2 say farewell before they end, and cost a server little.
constexpr std::chrono::seconds longest_unused{60};

struct Question {
  Request request;
  Clock::time_point deadline;
  Caller::Done done;
};

struct Idle {
  std::unique_ptr<Client> client;
  Clock::time_point since;
};

}  // namespace

struct Caller::Impl {
  Impl(const Access& given, const Timeouts& timeouts)
      : access(given), connections(std::make_shared<Connections>(context, given, timeouts)) {
    connections->on_opened([this] { serve_more(); });
  }

  struct Waiting {
    Question question;
    asio::steady_timer timer;  // until the deadline
  };

  void take(Question asked);
  void expire(std::uint64_t number);
  asio::awaitable<void> serve();
  asio::awaitable<Result<Answer>> ask(Client& client, Question& asked);
  Error late(const Request& request) const;
  std::unique_ptr<Client> client();
  void close_idle();

  std::size_t most_at_once() const { return connections->multiplexed() ? most_streams : most_connections; }
  void serve_more();

  const Access access;

  // The thread's own.
  std::vector<Idle> idle;
  std::size_t serving = 0;

  // Destroyed before the rest, which what runs in it uses.
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::steady_timer idle_timer{context};
  asio::steady_timer unused_timer{context};
  std::shared_ptr<Connections> connections;
  std::map<std::uint64_t, Waiting> waiting;  // in the order of their coming
  std::uint64_t last_number = 0;
  std::thread thread;
};

void Caller::Impl::take(Question asked) {
  if (waiting.size() >= most_waiting) {
    return asked.done(make_error(Errc::exhausted, "too many questions to the API server are waiting"));
  }
  const std::uint64_t number = ++last_number;
  asio::steady_timer timer(context, asked.deadline);
  const auto placed = waiting.emplace(number, Waiting{std::move(asked), std::move(timer)}).first;
  placed->second.timer.async_wait([this, number](const boost::system::error_code& error) {
    if (!error) expire(number);
  });
  serve_more();
}

void Caller::Impl::serve_more() {
  const std::size_t wanted = std::min(most_at_once(), serving + waiting.size());
  while (serving < wanted) {
    ++serving;  // first: it may begin at once
    asio::co_spawn(context, serve(), asio::detached);
  }
}

// It may have been taken from the queue since.
void Caller::Impl::expire(std::uint64_t number) {
  const auto found = waiting.find(number);
  if (found == waiting.end()) return;
  const Question question = std::move(found->second.question);
  waiting.erase(found);
  question.done(late(question.request));
}

std::unique_ptr<Client> Caller::Impl::client() {
  if (idle.empty()) return std::make_unique<Client>(connections);
  auto last = std::move(idle.back());
  idle.pop_back();
  if (Clock::now() - last.since >= longest_idle) last.client->disconnect();
  return std::move(last.client);
}

asio::awaitable<void> Caller::Impl::serve() {
  auto connection = client();
  while (!waiting.empty() && serving <= most_at_once()) {
    const auto first = waiting.begin();
    Question asked = std::move(first->second.question);
    waiting.erase(first);
    auto answer = co_await ask(*connection, asked);
    asked.done(std::move(answer));
  }
  idle.push_back({std::move(connection), Clock::now()});
  --serving;
  close_idle();
}

void Caller::Impl::close_idle() {
  idle_timer.expires_after(longest_idle);
  idle_timer.async_wait([this](const boost::system::error_code& error) {
    if (!error) idle.clear();
  });
  unused_timer.expires_after(longest_unused);
  unused_timer.async_wait([this](const boost::system::error_code& error) {
    if (!error) connections->close_idle();
  });
}

asio::awaitable<Result<Answer>> Caller::Impl::ask(Client& client, Question& asked) {
  using namespace asio::experimental::awaitable_operators;
  if (Clock::now() >= asked.deadline) co_return late(asked.request);
  asio::steady_timer timer(context, asked.deadline);
  auto first = co_await (client.call(asked.request) || timer.async_wait(awaited));
  if (first.index() == 0) co_return std::move(std::get<0>(first));
  client.disconnect();
  co_return late(asked.request);
}

Error Caller::Impl::late(const Request& request) const {
  return make_error(Errc::timeout, "API server " + access.host + ":" + std::to_string(access.port) +
                                       ": no answer in time to " + request.method + " " + request.target);
}

Caller::Caller(const Access& access, const Timeouts& timeouts)
    : impl_(std::make_unique<Impl>(access, timeouts)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->context.run(); });
}

Caller::~Caller() {
  impl_->context.stop();
  impl_->thread.join();
  impl_->idle.clear();  // before the context that they belong to
  impl_->connections.reset();
}

void Caller::call(Request request, std::chrono::milliseconds deadline, Done done) {
  // Answers even if it is destroyed unasked: with the queue, or with a coroutine that the end cut short.
  struct Once {
    explicit Once(Done given) : done(std::move(given)) {}
    Once(const Once&) = delete;
    Once& operator=(const Once&) = delete;
    Done done;
    ~Once() {
      if (done) done(make_error(Errc::closed, "stopping"));
    }
  };
  auto once = std::make_shared<Once>(std::move(done));
  Question asked{std::move(request), Clock::now() + deadline, [once](Result<Answer> answer) {
                   if (auto tell = std::exchange(once->done, nullptr)) tell(std::move(answer));
                 }};
  once.reset();
  asio::post(impl_->context,
             [impl = impl_.get(), asked = std::move(asked)]() mutable { impl->take(std::move(asked)); });
}

Result<Answer> Caller::call(Request request, std::chrono::milliseconds deadline) {
  std::promise<Result<Answer>> promise;
  auto future = promise.get_future();
  call(std::move(request), deadline,
       [&promise](Result<Answer> answer) { promise.set_value(std::move(answer)); });
  return future.get();
}

namespace {

// Cancelled, on the context's thread, when nobody wants to know any longer.
class RunningWatch : public Caller::Watch {
 public:
  RunningWatch(asio::io_context& context, const std::shared_ptr<Connections>& connections, ObjectName object,
               std::function<void()> told)
      : context_(context), news_(std::make_shared<ObjectNews>(std::move(told))) {
    asio::post(context_, [&context = context_, connections, object = std::move(object), news = news_,
                          cancel = cancel_]() mutable {
      // The end is of no interest, and the signal must live until then.
      const auto ended = [cancel](const std::exception_ptr&) {};
      asio::co_spawn(context, watch_object(connections, std::move(object), std::move(news)),
                     asio::bind_cancellation_slot(cancel->slot(), ended));
    });
  }
  ~RunningWatch() override {
    news_->silence();
    asio::post(context_, [cancel = cancel_] { cancel->emit(asio::cancellation_type::terminal); });
  }
  RunningWatch(const RunningWatch&) = delete;
  RunningWatch& operator=(const RunningWatch&) = delete;

  bool watching() const override { return news_->watching(); }

 private:
  asio::io_context& context_;
  const std::shared_ptr<ObjectNews> news_;
  const std::shared_ptr<asio::cancellation_signal> cancel_ = std::make_shared<asio::cancellation_signal>();
};

}  // namespace

std::unique_ptr<Caller::Watch> Caller::watch(ObjectName object, std::function<void()> told) {
  return std::make_unique<RunningWatch>(impl_->context, impl_->connections, std::move(object),
                                        std::move(told));
}

const Access& Caller::access() const {
  return impl_->access;
}

}  // namespace heddle::source::kubernetes
