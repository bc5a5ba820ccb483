// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace heddle::source::kubernetes {

// PURE: decodes gzip (RFC 1952) as it arrives, cut anywhere. Some 40 KiB while it lives. Not thread-safe.
class Gunzip {
 public:
  // Takes a piece of the decoded bytes, at most 32 KiB; an error ends the decoding. It bounds what becomes of
  // few bytes: a thousandth of the size may come in.
  using Sink = std::function<Result<>(std::string_view)>;

  Gunzip();
  ~Gunzip();
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  // Errc::protocol: not gzip, or bytes after its end; else the error of `sink`. Of no use after an error.
  Result<> feed(std::string_view bytes, const Sink& sink);
  // The end was seen, and the checksum is right.
  bool complete() const { return complete_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  bool complete_ = false;
};

}  // namespace heddle::source::kubernetes
