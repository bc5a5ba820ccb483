// SPDX-License-Identifier: Apache-2.0
// The same server as an Asio program is usually written: one read with a buffer of the connection's own, one
// write.
#include <time.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <thread>

#include "tests/bench/echo.h"

namespace heddle::bench {
namespace {

namespace asio = boost::asio;

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}
  void read() {
    socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](auto error, std::size_t size) {
      if (!error) self->write(size);
    });
  }

 private:
  void write(std::size_t size) {
    asio::async_write(socket_, asio::buffer(buffer_.data(), size),
                      [self = shared_from_this()](auto error, std::size_t) {
                        if (!error) self->read();
                      });
  }
  asio::ip::tcp::socket socket_;
  std::array<char, 4096> buffer_;
};

class AsioEcho final : public EchoServer {
 public:
  AsioEcho() : thread_([this] { io_.run(); }) {}
  ~AsioEcho() override {
    io_.stop();
    thread_.join();
  }
  void add(Fd socket) override {
    asio::post(io_, [this, fd = socket.release()] {
      std::make_shared<Session>(asio::ip::tcp::socket(io_, asio::ip::tcp::v4(), fd))->read();
    });
  }
  double cpu_ns() override {
    clockid_t clock;
    pthread_getcpuclockid(thread_.native_handle(), &clock);
    timespec used{};
    clock_gettime(clock, &used);
    return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
  }
  void settle() override {
    std::promise<void> done;
    asio::post(io_, [&] { done.set_value(); });
    done.get_future().wait();
  }

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::thread thread_;
};

}  // namespace

std::unique_ptr<EchoServer> make_asio_echo() {
  return std::make_unique<AsioEcho>();
}

}  // namespace heddle::bench
