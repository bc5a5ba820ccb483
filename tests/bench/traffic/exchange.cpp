// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/traffic/exchange.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>

namespace heddle::bench {
namespace {

constexpr std::size_t most_head = 4096;

}  // namespace

int SizedAnswer::take(std::string_view bytes) {
  if (bytes.size() > left_) return -1;
  left_ -= bytes.size();
  return left_ == 0 ? 1 : 0;
}

void Http1Answer::begin() {
  head_.clear();
  in_content_ = false;
}

int Http1Answer::take(std::string_view bytes) {
  if (!in_content_) {
    const auto before = head_.size();
    head_.append(bytes);
    const auto end = head_.find("\r\n\r\n");
    if (end == std::string::npos) return head_.size() > most_head ? -1 : 0;
    bytes.remove_prefix(end + 4 - before);
    head_.resize(end + 2);
    if (take_head() < 0) return -1;
    in_content_ = true;
  }
  if (bytes.size() > left_) return -1;
  left_ -= bytes.size();
  return left_ == 0 ? 1 : 0;
}

int Http1Answer::take_head() {
  if (!head_.starts_with("HTTP/1.1 200")) return -1;
  constexpr std::string_view name = "\ncontent-length: ";
  auto at = head_.find(name);
  if (at == std::string::npos) at = head_.find("\nContent-Length: ");
  if (at == std::string::npos) return -1;
  const char* digits = head_.data() + at + name.size();
  return std::from_chars(digits, head_.data() + head_.size(), left_).ec == std::errc() ? 0 : -1;
}

void Exchange::connect() {
  fd_ = dial(to_);
  if (!fd_) return break_off("connect");
  state_ = State::connecting;
  poller_.add(fd_.get(), EPOLLOUT, *this);
}

void Exchange::send(std::uint64_t due) {
  due_ = due;
  answer_->begin();
  state_ = State::waiting;
  if (::send(fd_.get(), request_.data(), request_.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request_.size()))
    break_off("send");
}

void Exchange::ready(std::uint32_t /*events*/) {
  if (state_ == State::connecting) {
    errno = connect_error(fd_.get());
    if (errno != 0) return break_off("connect");
    poller_.change(fd_.get(), EPOLLIN, *this);
    state_ = State::idle;
    return events_.connected(*this);
  }
  static std::array<char, 65536> buffer;
  const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return break_off(got < 0 ? "receive" : "ended");
  const int complete =
      state_ == State::waiting ? answer_->take({buffer.data(), static_cast<std::size_t>(got)}) : -1;
  if (complete < 0) return break_off("unexpected answer");
  if (complete == 0) return;
  state_ = State::idle;
  events_.answered(*this);
}

void Exchange::break_off(const char* why) {
  fd_.reset();
  state_ = State::closed;
  events_.broken(*this, why);
}

}  // namespace heddle::bench
