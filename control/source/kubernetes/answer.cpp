// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/answer.h"

#include <charconv>

namespace heddle::source::kubernetes {
namespace {

constexpr std::size_t complaint_limit = 64 * 1024;  // of a body that explains a refusal
constexpr std::size_t encoding_limit = 64;          // of what is repeated in an error

// Seconds only; a date is as good as none.
std::optional<std::chrono::seconds> retry_after_of(std::string_view text) {
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace

void AnswerBuilder::field(std::string_view name, std::string_view value) {
  if (name == "retry-after") answer_.retry_after = retry_after_of(value);
  if (name == "content-encoding") encoding_ = value.substr(0, encoding_limit);
}

Result<> AnswerBuilder::begin() {
  if (encoding_ == "gzip") gunzip_.emplace();
  if (!encoding_.empty() && !gunzip_ && encoding_ != "identity") {
    return make_error(Errc::protocol, "an answer is encoded as nobody asked: " + encoding_);
  }
  return streaming() ? (*sink_)({}) : Result<>();
}

Result<> AnswerBuilder::feed(std::string_view bytes) {
  if (bytes.empty()) return {};
  if (!gunzip_) return decoded(bytes);
  return gunzip_->feed(bytes, [this](std::string_view piece) { return decoded(piece); });
}

Result<> AnswerBuilder::decoded(std::string_view bytes) {
  if (streaming()) return (*sink_)(bytes);
  const std::size_t limit = answer_.status / 100 == 2 ? answer_body_limit : complaint_limit;
  if (answer_.body.size() + bytes.size() > limit) {
    return make_error(Errc::exhausted, "an answer is larger than " + std::to_string(limit) + " bytes");
  }
  answer_.body += bytes;
  return {};
}

Result<> AnswerBuilder::end() const {
  if (!gunzip_ || gunzip_->complete()) return {};
  return make_error(Errc::protocol, "a gzip answer ends too early");
}

}  // namespace heddle::source::kubernetes
