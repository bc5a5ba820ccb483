// SPDX-License-Identifier: Apache-2.0
#include "agent/cni/server.h"

#include <cerrno>

#include "base/io/unix_message.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_sessions = 4096;
constexpr std::chrono::milliseconds request_deadline{10'000};
constexpr std::chrono::milliseconds accept_pause{100};

}  // namespace

struct CniServer::Session {
  Fd socket;
  bool root = false;
  bool called = false;
  CniCall call;
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  std::unique_ptr<Loop::Handle> readable;
  std::unique_ptr<Loop::Handle> deadline;
};

CniServer::CniServer(Loop& loop, std::string path, Handler handler, Observer observer)
    : loop_(loop), path_(std::move(path)), handler_(std::move(handler)), observer_(std::move(observer)) {}

CniServer::~CniServer() = default;

Result<> CniServer::listen() {
  auto listener = listen_unix(path_, 0600, true);
  if (!listener) return listener.error();
  listener_ = std::move(*listener);
  acceptable_ = loop_.watch(listener_.get(), Loop::Ready::readable, [this] { accept(); });
  return {};
}

void CniServer::accept() {
  if (sessions_.size() >= max_sessions) {
    // The others wait in the listener's backlog.
    acceptable_.reset();
    pause_ = loop_.after(accept_pause, [this] {
      acceptable_ = loop_.watch(listener_.get(), Loop::Ready::readable, [this] { accept(); });
    });
    return;
  }
  auto socket = accept_unix(listener_, true);
  if (!socket) {
    if (socket.error().code.value() == EAGAIN) return;
    spdlog::error(
        "cannot accept heddle-cni error=\"{}\" next=\"raise RLIMIT_NOFILE if it names descriptors\"",
        socket.error().message());
    acceptable_.reset();
    pause_ = loop_.after(accept_pause, [this] {
      acceptable_ = loop_.watch(listener_.get(), Loop::Ready::readable, [this] { accept(); });
    });
    return;
  }
  const std::uint64_t id = next_++;
  auto session = std::make_unique<Session>();
  const auto peer = peer_credentials(socket->get());
  session->root = peer && peer->uid == 0;
  if (!session->root) {
    ++refused_;
    spdlog::warn("plugin refused uid={} pid={} next=\"only root may ask for enrolment\"",
                 peer ? peer->uid : 0, peer ? peer->pid : 0);
  }
  session->socket = std::move(*socket);
  session->readable = loop_.watch(session->socket.get(), Loop::Ready::readable, [this, id] { read(id); });
  session->deadline = loop_.after(request_deadline, [this, id] {
    const auto found = sessions_.find(id);
    if (found != sessions_.end() && !found->second->called) sessions_.erase(found);
  });
  sessions_.emplace(id, std::move(session));
}

void CniServer::read(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  auto message = receive_unix(session.socket.get());
  if (!message) {
    if (message.error().code.value() == EAGAIN) return;
    // Gone before it asked, or killed while its call runs: the call is finished either way, and the runtime's
    // DEL or repeated ADD finds a consistent state.
    if (session.called) {
      session.readable.reset();
    } else {
      sessions_.erase(found);
    }
    return;
  }
  if (session.called) return;  // one request per conversation
  session.called = true;
  if (!session.root) {
    answer(id, {CniCode::not_allowed, "heddle-agent refuses", "only root may ask for enrolment"});
    return;
  }
  auto call = decode_cni_call(message->bytes, message->fds.size());
  if (!call) {
    spdlog::warn("request of heddle-cni refused reason=\"{}\"", call.error().message());
    answer(id, {CniCode::decode_failure, "heddle-agent cannot read the request: " + call.error().message(),
                "install heddle-cni and heddle-agent of the same version"});
    return;
  }
  session.call = *call;
  Fd netns = message->fds.empty() ? Fd() : std::move(message->fds.front());
  handler_(std::move(*call), std::move(netns), [this, id](const CniAnswer& reply) { answer(id, reply); });
}

void CniServer::answer(std::uint64_t id, const CniAnswer& answer) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  // A fresh socket takes one small message; if its peer is gone nobody is left to tell.
  if (auto sent = send_unix(session.socket.get(), encode_cni_answer(answer)); !sent) {
    spdlog::info("plugin did not wait for its answer command={} container={} error=\"{}\"",
                 to_string(session.call.command), session.call.container_id, sent.error().message());
  }
  const auto took = std::chrono::steady_clock::now() - session.since;
  observer_(session.call, answer, std::chrono::duration_cast<std::chrono::microseconds>(took));
  loop_.post([gone = std::shared_ptr<Session>(std::move(found->second))] {});
  sessions_.erase(found);
}

}  // namespace heddle::agent
