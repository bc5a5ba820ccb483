// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/gunzip.h"

#include <zlib.h>

#include <array>
#include <limits>
#include <string>

namespace heddle::source::kubernetes {
namespace {

constexpr int gzip_only = 16 + MAX_WBITS;

Error broken(const std::string& why) {
  return make_error(Errc::protocol, "gzip: " + why);
}

}  // namespace

struct Gunzip::Stream {
  z_stream z{};
  bool ready = false;
  std::array<Bytef, 32 * 1024> piece;

  Stream() : ready(inflateInit2(&z, gzip_only) == Z_OK) {}
  ~Stream() {
    if (ready) inflateEnd(&z);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

Gunzip::Gunzip() : stream_(std::make_unique<Stream>()) {}
Gunzip::~Gunzip() = default;

Result<> Gunzip::feed(std::string_view bytes, const Sink& sink) {
  Stream& s = *stream_;
  if (!s.ready) return make_error(Errc::internal, "zlib cannot begin");
  if (bytes.size() > std::numeric_limits<uInt>::max()) return broken("too much at once");
  s.z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib does not write there
  s.z.avail_in = static_cast<uInt>(bytes.size());
  // A full piece may have left more inside.
  while (s.z.avail_in > 0 || s.z.avail_out == 0) {
    if (complete_) return s.z.avail_in == 0 ? Result<>() : broken("bytes after the end");
    s.z.next_out = s.piece.data();
    s.z.avail_out = static_cast<uInt>(s.piece.size());
    const int outcome = inflate(&s.z, Z_NO_FLUSH);
    if (outcome == Z_BUF_ERROR) break;  // all is out, more must come in
    if (outcome != Z_OK && outcome != Z_STREAM_END) {
      return broken(s.z.msg == nullptr ? "broken" : s.z.msg);
    }
    complete_ = outcome == Z_STREAM_END;
    const std::string_view decoded(reinterpret_cast<const char*>(s.piece.data()),
                                   s.piece.size() - s.z.avail_out);
    if (decoded.empty()) continue;
    if (auto taken = sink(decoded); !taken) return taken;
  }
  return {};
}

}  // namespace heddle::source::kubernetes
