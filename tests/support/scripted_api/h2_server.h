// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct nghttp2_session;

namespace heddle::test {

// One connection of HTTP/2, as a server in a test has it: real framing by nghttp2, every request on a thread
// of its own. `tls` and `fd` must outlive it.
class H2Server {
 public:
  struct Request {
    std::string method;
    std::string target;
    std::string header;  // in lines that end with CRLF, as HTTP/1.1 has it, names as they came
    std::string body;
  };
  // What a request's thread answers with. Thread-safe; false: the client has gone from it.
  class Stream {
   public:
    Stream(H2Server& owner, std::int32_t id) : owner_(owner), id_(id) {}
    bool begin(int status, const std::map<std::string, std::string>& fields);
    bool send(const std::string& bytes);
    bool end();
    void reset(std::uint32_t code);
    bool gone() const { return gone_; }

   private:
    friend class H2Server;
    H2Server& owner_;
    const std::int32_t id_;
    Request request_;
    std::string output_;
    std::size_t sent_ = 0;  // of it
    bool ended_ = false;
    std::atomic<bool> gone_{false};
  };
  struct Options {
    std::uint32_t most_streams = 250;
    bool frozen = false;  // from its beginning
    std::function<void(const Request&, Stream&)> answer;
    std::function<void()> on_gone;  // streams of the client's have ended; on the connection's thread
  };

  H2Server(SSL* tls, int fd, Options options);
  ~H2Server();
  H2Server(const H2Server&) = delete;
  H2Server& operator=(const H2Server&) = delete;

  void serve();  // until the connection ends, and every request's thread with it
  // From any thread:
  void say_farewell();      // GOAWAY: what runs is answered, nothing new is taken
  void freeze(bool froze);  // nothing is read or written: as a server that vanished
  // That the client has granted: of the connection, and of a stream that carries nothing yet.
  std::int32_t connection_window();
  std::uint32_t stream_window();
  std::size_t pings() const { return pings_; }  // that came

 private:
  struct Callbacks;

  void wake() const;
  bool read();
  bool write();
  void run_request(const std::shared_ptr<Stream>& stream);

  SSL* const tls_;
  const int fd_;
  const Options options_;
  int event_ = -1;
  std::mutex mutex_;  // of what follows
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::shared_ptr<Stream>> streams_;
  std::vector<std::thread> threads_;
  std::atomic<std::size_t> pings_{0};
  bool frozen_;
  bool any_gone_ = false;
  std::string output_;  // the connection's thread's own: what TLS did not take yet
};

}  // namespace heddle::test
