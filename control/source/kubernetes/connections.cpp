// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/connections.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);

}  // namespace

// To connect, by one client for all that wait.
struct Connections::Attempt {
  explicit Attempt(asio::io_context& context) : over(context, asio::steady_timer::time_point::max()) {}

  asio::steady_timer over;  // cancelled when it is
  std::optional<Error> failed;
};

Connections::Connections(asio::io_context& context, Access access, const Timeouts& timeouts)
    : context_(context),
      given_(std::move(access)),
      timeouts_(timeouts),
      access_(std::make_shared<const Access>(given_)) {}

Connections::~Connections() {
  if (context_.stopped()) return;
  for (const auto& each : shared_) each->close();
}

void Connections::refresh() {
  const bool lasting = std::ranges::any_of(shared_, [](const auto& each) { return each->usable(); });
  if (!lasting && attempt_ == nullptr) read_again();
}

// What cannot be read does not part us from a server that we can speak to.
void Connections::read_again() {
  if (!given_.read_again) return;
  auto read = given_.read_again();
  if (read) {
    access_ = std::make_shared<const Access>(std::move(*read));
    complaint_.clear();
    return;
  }
  const std::string why = read.error().message();
  if (why != complaint_) spdlog::warn("what the kubeconfig said before stays in use: {}", why);
  complaint_ = why;
}

// The one with the fewest questions, if it has room or there may be no further one. What showed another
// certificate of the program is left to what runs over it.
std::shared_ptr<H2Connection> Connections::usable(const std::shared_ptr<const ExecCredential>& given) {
  std::erase_if(shared_, [](const auto& each) { return !each->usable() && each->idle(); });
  const bool shows = given != nullptr && !given->certificate.empty();
  std::ptrdiff_t count = 0;
  std::shared_ptr<H2Connection> best;
  for (const auto& each : shared_) {
    if (!each->usable() || (shows && each->shown() != given)) continue;
    ++count;
    if (best == nullptr || each->questions() < best->questions()) best = each;
  }
  if (best == nullptr || (!best->has_room() && count < most_shared)) return nullptr;
  return best;
}

asio::awaitable<Result<Connections::Opened>> Connections::open(std::shared_ptr<const ExecCredential> given) {
  while (true) {
    if (auto found = usable(given)) co_return Opened{std::move(found), nullptr, false};
    if (attempt_ == nullptr || plain_) break;
    const auto attempt = attempt_;
    co_await attempt->over.async_wait(awaited);
    if (attempt->failed) co_return *attempt->failed;
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      co_return Error{asio::error::operation_aborted, "not waited for any longer"};
    }
  }
  co_return co_await make(std::move(given));
}

asio::awaitable<Result<Connections::Opened>> Connections::make(std::shared_ptr<const ExecCredential> given) {
  // Also when this is not waited for any longer: then another client tries.
  struct Ending {
    ~Ending() {
      if (owner.attempt_ == attempt) owner.attempt_.reset();
      attempt->over.cancel();
    }
    Connections& owner;
    std::shared_ptr<Attempt> attempt;
  };
  const Ending ending{*this, attempt_ = std::make_shared<Attempt>(context_)};
  auto link = co_await connect(context_, access_, given, timeouts_.connect);
  if (!link) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() == asio::cancellation_type::none) ending.attempt->failed = link.error();
    co_return link.error();
  }
  plain_ = !(*link)->h2;
  multiplexed_ = !plain_;
  if (plain_) {
    if (told_) told_();
    co_return Opened{nullptr, std::move(*link), true};
  }
  auto made = std::make_shared<H2Connection>(context_, std::move(*link), timeouts_, std::move(given));
  const auto begun = co_await made->begin();
  if (!begun) {
    made->close();
    if (begun.error().code != asio::error::operation_aborted) ending.attempt->failed = begun.error();
    co_return begun.error();
  }
  // Others may have tried at the same time, when the server was thought to have HTTP/1.1 only.
  if (auto others = usable(made->shown())) {
    made->close();
    co_return Opened{std::move(others), nullptr, true};
  }
  shared_.push_back(made);
  if (told_) told_();
  co_return Opened{std::move(made), nullptr, true};
}

void Connections::close_idle() {
  std::erase_if(shared_, [](const auto& each) {
    if (each->idle()) each->close();
    return each->idle();
  });
}

}  // namespace heddle::source::kubernetes
