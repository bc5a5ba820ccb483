// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/source/kubernetes/gunzip.h"

namespace heddle::source::kubernetes {

struct Request {
  std::string method = "GET";
  std::string target;        // path and query, escaped
  std::string body;          // empty: none
  std::string content_type;  // of the body: "application/json", "application/merge-patch+json", ...
};

struct Answer {
  int status = 0;
  std::optional<std::chrono::seconds> retry_after;
  std::string body;  // empty if it was given to a sink
};

// Takes the body of an answer with status 200 as it arrives: first an empty piece with the header. An error
// ends the conversation.
using Sink = std::function<Result<>(std::string_view)>;

inline constexpr std::size_t answer_body_limit = 64 * 1024 * 1024;

// PURE: puts an answer together as its parts arrive, whatever the version of HTTP. Not thread-safe.
class AnswerBuilder {
 public:
  // `sink` must outlive it; null: the body is kept.
  explicit AnswerBuilder(const Sink* sink) : sink_(sink) {}

  void status(int code) { answer_.status = code; }
  // Of the header; names in lower case. What does not matter here is passed over.
  void field(std::string_view name, std::string_view value);
  // The header is complete. Errc::protocol: an encoding that was not asked for; else the sink's error.
  Result<> begin();
  // Errc::exhausted: a body beyond answer_body_limit (64 KiB of a refusal); Errc::protocol: not the gzip it
  // says it is; else the sink's error.
  Result<> feed(std::string_view bytes);
  // The body is complete. Errc::protocol: the gzip is not.
  Result<> end() const;

  int status() const { return answer_.status; }
  // The body goes to the sink: it may last.
  bool streaming() const { return sink_ != nullptr && answer_.status == 200; }
  Answer take() { return std::move(answer_); }

 private:
  Result<> decoded(std::string_view bytes);

  const Sink* sink_;
  Answer answer_;
  std::string encoding_;
  std::optional<Gunzip> gunzip_;
};

}  // namespace heddle::source::kubernetes
