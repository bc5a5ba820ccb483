// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/output.h"

#include <algorithm>
#include <utility>

namespace heddle::proxy::http {
namespace {

// From this size on copying costs more than a system call of its own.
constexpr std::size_t write_through_size = 16 * 1024;
constexpr std::size_t least_fitted = 4096;

iovec part(const void* data, std::size_t size) {
  return {const_cast<void*>(data), size};
}

}  // namespace

std::string& Output::text() {
  if (buffer_.empty() && buffer_.capacity() < 512) buffer_ = engine_.take_buffer();
  return buffer_;
}

void Output::content(Stream& stream, std::span<const std::byte> bytes, std::string_view tail) {
  owed_ += bytes.size();
  const std::string_view view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.size() < write_through_size || blocked_ || error_ != 0) {
    text().append(view).append(tail);
    return;
  }
  const std::size_t gathered = size();
  const iovec parts[] = {part(buffer_.data() + sent_, gathered), part(view.data(), view.size()),
                         part(tail.data(), tail.size())};
  const IoResult result = stream.write(std::span(parts));
  if (result.status == IoStatus::error) error_ = result.error;
  if (result.status == IoStatus::would_block) blocked_ = true;
  std::size_t taken = result.status == IoStatus::ok ? result.size : 0;
  written_ += taken;
  const std::size_t of_gathered = std::min(taken, gathered);
  sent_ += of_gathered;
  taken -= of_gathered;
  if (sent_ == buffer_.size()) {
    buffer_.clear();
    sent_ = 0;
  }
  const std::size_t of_view = std::min(taken, view.size());
  const std::size_t of_tail = taken - of_view;
  if (of_view == view.size() && of_tail == tail.size()) return;
  text().append(view.substr(of_view)).append(tail.substr(of_tail));
}

Output::Flushed Output::flush(Stream& stream, bool last) {
  blocked_ = false;
  const bool nothing = empty();
  while (error_ == 0 && size() > 0) {
    const iovec parts[] = {part(buffer_.data() + sent_, size())};
    const IoResult result = last ? stream.write_last(std::span(parts)) : stream.write(std::span(parts));
    if (result.status == IoStatus::error) {
      error_ = result.error;
    } else if (result.status == IoStatus::would_block) {
      blocked_ = true;
      fit();
      return Flushed::blocked;
    } else {
      sent_ += result.size;
      written_ += result.size;
    }
  }
  release();
  if (error_ != 0) return Flushed::error;
  if (last && nothing) stream.finish_writes();
  return Flushed::all;
}

// What went out must not pile up in front of a slow reader's rest, nor a few bytes keep a large buffer.
void Output::fit() {
  const std::size_t left = size();
  if (left * 4 < buffer_.capacity() && buffer_.capacity() > least_fitted) {
    std::string fitted(buffer_, sent_);
    engine_.give_buffer(std::exchange(buffer_, std::move(fitted)));
    sent_ = 0;
  } else if (sent_ > buffer_.size() / 2) {
    buffer_.erase(0, sent_);
    sent_ = 0;
  }
}

std::size_t Output::take_credit() {
  const std::size_t left = std::min(owed_, size());
  const std::size_t credit = owed_ - left;
  owed_ = left;
  return credit;
}

void Output::release() {
  sent_ = 0;
  if (buffer_.capacity() >= 512) engine_.give_buffer(std::move(buffer_));
  buffer_ = std::string();
}

}  // namespace heddle::proxy::http
