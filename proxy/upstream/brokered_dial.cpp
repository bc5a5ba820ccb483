// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/brokered_dial.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>

#include "bpf/shared/abi.h"

namespace heddle::proxy {
namespace {

// Tells the kernel's hooks which client the app shall see on this connection (bpf/shared/abi.h); none: forget
// that of the socket's last connection.
void show_client(int socket, const std::optional<SocketAddress>& client) {
  heddle_address value{};
  if (client) {
    std::memcpy(value.ip, client->ip.bytes().data(), sizeof value.ip);
    value.port = client->port;
  }
  static std::atomic<bool> warned{false};
  if (::setsockopt(socket, HEDDLE_SOL, HEDDLE_SO_CLIENT_ADDRESS, &value, sizeof value) != 0 &&
      !warned.exchange(true)) {
    spdlog::warn(
        "apps see the proxy's address instead of the client's error=\"{}\" next=\"see that the agent's "
        "setsockopt hook is attached: heddle check\"",
        make_errno(errno).message());
  }
}

// 0 or errno. The socket is of the destination's family or dual-stack: IPv4 is tried as such first, which
// spares asking for the family; a dual-stack socket refuses it before anything happened (EINVAL for the
// length, EAFNOSUPPORT).
int start_connect(int socket, const SocketAddress& to) {
  for (bool as_v6 = !to.ip.is_v4();; as_v6 = true) {
    sockaddr_storage address{};
    const socklen_t size = to.to_sockaddr(address, as_v6);
    int outcome = 0;
    do {
      outcome = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), size);
    } while (outcome != 0 && errno == EINTR);
    if (outcome == 0) return 0;
    if (as_v6 || (errno != EINVAL && errno != EAFNOSUPPORT)) return errno;
  }
}

}  // namespace

BrokeredDial::BrokeredDial(BrokeredDialer& dialer, Loop& loop, DialRequest request, Dialer::Done done)
    : dialer_(&dialer),
      loop_(loop),
      request_(std::move(request)),
      done_(std::move(done)),
      timer_(loop, [this] { timed_out(); }) {}

BrokeredDial::~BrokeredDial() {
  leave_queue();
  if (self_) *self_ = nullptr;
}

void BrokeredDial::wait_in(std::list<BrokeredDial*>& queue) {
  queue_ = &queue;
  place_ = queue.insert(queue.end(), this);
  ++dialer_->waiting_;
  timer_.arm(std::max(request_.timeout, socket_patience));
}

void BrokeredDial::leave_queue() {
  if (queue_ == nullptr) return;
  queue_->erase(place_);
  queue_ = nullptr;
  --dialer_->waiting_;
}

void BrokeredDial::orphan() {
  queue_ = nullptr;
  dialer_ = nullptr;
}

void BrokeredDial::connect(BrokeredDialer::Spare spare) {
  leave_queue();
  timer_.arm(request_.timeout);
  const bool shows = request_.show_client && request_.pod->interception == Interception::ebpf &&
                     request_.pod->keep_client_source;
  if (shows || spare.shows_client)
    show_client(spare.socket.get(), shows ? request_.show_client : std::nullopt);
  hold_handshake_ack(spare.socket.get());
  if (const int error = start_connect(spare.socket.get(), request_.to); error != 0 && error != EINPROGRESS) {
    fail_later(make_errno(error, "cannot connect to " + request_.to.to_string()));
    return;
  }
  SocketOrigin origin{
      dialer_->returns_, request_.pod->netns_cookie, request_.pod->id, spare.generation, 0, 0};
  origin.ipv6 = request_.to.ip.is_v4() ? 0 : 1;
  origin.shows_client = shows ? 1 : 0;
  stream_ = std::make_unique<TcpStream>(loop_, std::move(spare.socket), std::move(origin),
                                        dialer_->share_of(request_.pod->id));
  if (stream_->registration_error() != 0) {
    fail_later(make_errno(stream_->registration_error(), "cannot watch a connection"));
    return;
  }
  stream_->set_events(this);
}

void BrokeredDial::on_writable() {
  if (stream_->peer_closing()) {
    // Failed, or established and ended already: the kernel knows.
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(stream_->descriptor(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) {
      finish(make_errno(error, "cannot connect to " + request_.to.to_string()));
      return;
    }
  }
  stream_->set_events(nullptr);
  finish(Result<std::unique_ptr<Stream>>(std::unique_ptr<Stream>(std::move(stream_))));
}

void BrokeredDial::timed_out() {
  const bool waited_for_socket = queue_ != nullptr;
  leave_queue();
  if (waited_for_socket || !stream_) {
    finish(make_error(Errc::unavailable, "no socket for pod " + request_.pod->ns + "/" + request_.pod->name +
                                             " came from the agent in time; see that heddle-agent runs"));
  } else {
    finish(make_errno(ETIMEDOUT, "cannot connect to " + request_.to.to_string()));
  }
}

void BrokeredDial::fail_later(Error error) {
  leave_queue();
  timer_.cancel();
  self_ = std::make_shared<BrokeredDial*>(this);
  loop_.defer([self = self_, error = std::move(error)] {
    if (*self != nullptr) (*self)->finish(error);
  });
}

void BrokeredDial::finish(Result<std::unique_ptr<Stream>> result) {
  timer_.cancel();
  // The receiver usually destroys this object from inside the call.
  const Dialer::Done done = std::move(done_);
  const std::unique_ptr<TcpStream> failed = std::move(stream_);
  if (done) done(std::move(result));
}

}  // namespace heddle::proxy
