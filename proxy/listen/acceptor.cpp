// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/acceptor.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "proxy/inbound/inbound.h"
#include "proxy/io/tcp_stream.h"
#include "proxy/listen/original_dst.h"
#include "proxy/outbound/forward_proxy.h"
#include "proxy/outbound/outbound.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr int accept_batch = 64;
// Every so many wake-ups the queue is emptied; while that finds several connections, every time. Otherwise
// one is taken, and asking for another that usually is not there is spared.
constexpr unsigned probe_every = 8;
constexpr std::chrono::milliseconds accept_pause{100};
// How often it is looked whether a pod that sheds may have connections again.
constexpr std::chrono::milliseconds shedding_look{100};

// Out of descriptors or memory: the connection stays queued and would wake us again at once.
bool out_of_resources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

}  // namespace

AcceptPause::AcceptPause(Loop& loop)
    : loop_(loop), timer_(loop_, [this] {
        active_ = false;
        if (resume) resume();
      }) {}

bool AcceptPause::comes_near_limit(int socket) {
  if (socket <= highest_) return false;
  highest_ = socket;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return false;
  return static_cast<rlim_t>(socket) >= files.rlim_cur - files.rlim_cur / 10;
}

void AcceptPause::begin(int error) {
  if (active_) return;
  active_ = true;
  if (pause) pause();
  timer_.arm(accept_pause);
  if (std::exchange(logged_, true)) return;
  spdlog::warn(
      "new connections wait error=\"{}\" next=\"raise the process' limit of open files or look for pods "
      "with very many connections\"",
      make_errno(error).message());
}

Acceptor::Acceptor(Worker& worker, AcceptPause& pause, PodRef pod, std::shared_ptr<PodListeners> listeners)
    : worker_(worker), pause_(pause), pod_(std::move(pod)), listeners_(std::move(listeners)) {
  update(pod_);
  outbound_.acceptor = inbound_.acceptor = this;
  outbound_.outbound = true;
}

Acceptor::~Acceptor() {
  pause();
}

void Acceptor::update(PodRef pod) {
  pod_ = std::move(pod);
  share_ =
      worker_.loop.share(pod_->netns_cookie, pod_->load->limits.cpu_weight.load(std::memory_order_relaxed));
}

int Acceptor::descriptor(bool outbound) const {
  return outbound ? listeners_->outbound.get() : listeners_->inbound.get();
}

Result<> Acceptor::watch(Side& side) {
  if (side.watched || (side.waiting && side.waiting->armed())) return {};
  auto added = worker_.loop.add(descriptor(side.outbound), EPOLLIN | EPOLLEXCLUSIVE, side, share_);
  side.watched = added.has_value();
  return added;
}

void Acceptor::unwatch(Side& side) {
  if (std::exchange(side.watched, false)) worker_.loop.remove(descriptor(side.outbound), side);
}

Result<> Acceptor::listen() {
  if (auto done = watch(outbound_); !done) return done;
  return watch(inbound_);
}

void Acceptor::pause() {
  unwatch(outbound_);
  unwatch(inbound_);
}

void Acceptor::accept_some(Side& side) {
  const bool outbound = side.outbound;
  const int limit = ++side.alone < probe_every ? 1 : accept_batch;
  // Level-triggered: what a batch leaves is reported again, after other descriptors had their turn.
  for (int i = 0; i < limit && !pause_.active(); ++i) {
    if (i > 0 && worker_.loop.used_up()) return;
    if (!may_accept(side)) return;
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int socket = ::accept4(descriptor(outbound), reinterpret_cast<sockaddr*>(&address), &size,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      auto client = SocketAddress::from(address);
      if (client) {
        accepted(socket, *client, outbound);
      } else {
        ::close(socket);
      }
      if (pause_.comes_near_limit(socket)) return wait(side, shedding_look);
      continue;
    }
    const int error = errno;
    rate(side).give_back(pod_->load->limits.accepts_per_second.load(std::memory_order_relaxed));
    if (error == EAGAIN) {
      if (i <= 1) side.alone = 0;
      return;
    }
    if (out_of_resources(error)) pause_.begin(error);
    // Everything else (ECONNABORTED, EPROTO, ...) concerns a connection that is gone already, accept(2).
  }
}

AcceptRate& Acceptor::rate(const Side& side) const {
  return side.outbound ? pod_->load->outbound_accepts : pod_->load->inbound_accepts;
}

bool Acceptor::may_accept(Side& side) {
  PodLoad& load = *pod_->load;
  const std::uint32_t limit = load.limits.accepts_per_second.load(std::memory_order_relaxed);
  const auto now = worker_.loop.now().time_since_epoch();
  if (load.shedding.load(std::memory_order_relaxed) != 0) {
    wait(side, shedding_look);
    return false;
  }
  if (rate(side).take(now, limit)) return true;
  load.count(Limit::accept_rate);
  wait(side, rate(side).wait(now, limit));
  return false;
}

// What is not accepted fills the listener's queue, and then the kernel drops SYNs: the pod's connects take
// longer, as with a server that is busy. A listener that is not watched costs nothing meanwhile.
void Acceptor::wait(Side& side, std::chrono::nanoseconds time) {
  unwatch(side);
  if (!side.waiting) {
    side.waiting = std::make_unique<Timer>(worker_.loop, [this, &side] {
      if (pause_.active()) return;
      if (auto watched = watch(side); !watched) pause_.begin(watched.error().code.value());
    });
  }
  side.waiting->arm(std::chrono::ceil<std::chrono::milliseconds>(time));
}

void Acceptor::accepted(int socket, const SocketAddress& client, bool outbound) {
  auto destination = original_destination(socket, client, pod_->interception, outbound);
  if (outbound && (!destination || dials_listener(*pod_, *destination)) &&
      dialled_from_within(socket, client, *pod_)) {
    return serve_forward_proxy(worker_, pod_, client, nullptr, make_tcp_stream(worker_.loop, Fd(socket)));
  }
  if (!destination) {
    refuse(socket, outbound, "no_original_destination");
    return;
  }
  if (outbound && dials_listener(*pod_, *destination)) {
    refuse(socket, outbound, "dialled_listener");
    return;
  }
  auto stream = make_tcp_stream(worker_.loop, Fd(socket));
  if (outbound) {
    serve_outbound(worker_, pod_, client, *destination, std::move(stream));
  } else {
    serve_inbound(worker_, pod_, client, *destination, std::move(stream));
  }
}

void Acceptor::refuse(int socket, bool outbound, const char* reason) {
  set_reset_on_close(socket);
  ::close(socket);
  if (!worker_.telemetry) return;
  worker_.telemetry
      ->counter("heddle_accept_refused_total", "Accepted connections that were reset at once, by reason.",
                render_label("direction", outbound ? "outbound" : "inbound") + "," +
                    render_label("namespace", pod_->ns) + "," + render_label("pod", pod_->name) + "," +
                    render_label("reason", reason))
      ->add(1);
}

}  // namespace heddle::proxy
