// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/http/smuggling/recording_app.h"

#include <utility>

namespace heddle::proxy::smuggling {

struct RecordingApp::Connection final : StreamEvents {
  Connection(State& shared, std::unique_ptr<Stream> taken) : state(shared), stream(std::move(taken)) {
    stream->set_events(this);
  }
  ~Connection() { stream->set_events(nullptr); }

  void on_readable() override {
    std::array<std::byte, 16 * 1024> buffer;
    while (!over) {
      const IoResult result = stream->read(buffer);
      if (result.status == IoStatus::would_block) return;
      if (result.status != IoStatus::ok) return end();
      const std::lock_guard lock(state.mutex);
      raw.append(reinterpret_cast<const char*>(buffer.data()), result.size);
      read();
    }
  }
  void on_writable() override { write(); }

  void read() {
    Reading reading = read_requests(std::string_view(raw).substr(used), dialects().front());
    used += reading.used;
    for (Message& message : reading.messages) {
      answer(message);
      state.messages.push_back(std::move(message));
    }
    if (reading.error.empty()) return;
    state.errors.push_back(reading.error);
    end();
  }

  void answer(const Message& message) {
    if (message.target == "/scripted") {
      pending += state.scripted;
      closing = state.close_after;
    } else {
      pending += "HTTP/1.1 " + std::string(message.method == "CONNECT" ? "405 No" : "200 OK") +
                 "\r\nContent-Length: " + std::to_string(message.target.size()) + "\r\n\r\n" +
                 (message.method == "HEAD" ? "" : message.target);
    }
    write();
  }

  void write() {
    while (!pending.empty() && !over) {
      const iovec part{pending.data(), pending.size()};
      const IoResult result = stream->write(std::span(&part, 1));
      if (result.status != IoStatus::ok) return;
      pending.erase(0, result.size);
    }
    if (closing) end();
  }

  void end() {
    if (std::exchange(over, true)) return;
    stream->finish_writes();
  }

  State& state;
  std::unique_ptr<Stream> stream;
  std::string raw, pending;
  std::size_t used = 0;
  bool closing = false, over = false;
};

RecordingApp::RecordingApp(ProxyLab& lab) {
  address_ =
      lab.listen(lab.server(), [state = state_](Worker&, SocketAddress, std::unique_ptr<Stream> stream) {
        const std::lock_guard lock(state->mutex);
        state->connections.push_back(std::make_shared<Connection>(*state, std::move(stream)));
      });
}

void RecordingApp::begin(std::string scripted, bool close_after) {
  const std::lock_guard lock(state_->mutex);
  state_->messages.clear();
  state_->errors.clear();
  state_->scripted = std::move(scripted);
  state_->close_after = close_after;
  for (auto& connection : state_->connections) {
    connection->raw.clear();
    connection->used = 0;
  }
}

RecordingApp::Record RecordingApp::record() {
  const std::lock_guard lock(state_->mutex);
  Record record{state_->messages, {}, state_->errors};
  for (const auto& connection : state_->connections) {
    if (!connection->raw.empty()) record.raw.push_back(connection->raw);
  }
  return record;
}

}  // namespace heddle::proxy::smuggling
