// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/archive.h"

#include <zlib.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace heddle::tools {
namespace {

constexpr std::size_t block = 512;

// IEEE Std 1003.1-2017, pax: the ustar header block.
struct Header {
  std::array<char, 100> name;
  std::array<char, 8> mode, uid, gid;
  std::array<char, 12> size, mtime;
  std::array<char, 8> checksum;
  char type;
  std::array<char, 100> link;
  std::array<char, 6> magic;
  std::array<char, 2> version;
  std::array<char, 32> user, group;
  std::array<char, 8> major, minor;
  std::array<char, 155> prefix;
  std::array<char, 12> unused;
};
static_assert(sizeof(Header) == block);

template <std::size_t size>
void octal(std::array<char, size>& field, unsigned long value) {
  std::snprintf(field.data(), size, "%0*lo", static_cast<int>(size - 1), value);
}

// Long paths are cut at a slash into two fields.
bool put_path(Header& header, const std::string& path) {
  if (path.size() <= header.name.size()) {
    std::memcpy(header.name.data(), path.data(), path.size());
    return !path.empty();
  }
  const auto cut = path.find('/', path.size() - header.name.size() - 1);
  if (cut == std::string::npos || cut == 0 || cut > header.prefix.size() || cut + 1 == path.size())
    return false;
  std::memcpy(header.prefix.data(), path.data(), cut);
  std::memcpy(header.name.data(), path.data() + cut + 1, path.size() - cut - 1);
  return true;
}

Result<Header> header_of(const ArchivedFile& file, std::time_t at) {
  Header header{};
  if (!put_path(header, file.path))
    return make_error(Errc::invalid_argument, "no archive can hold a file of the name " + file.path);
  octal(header.mode, 0600);
  octal(header.uid, 0);
  octal(header.gid, 0);
  octal(header.size, file.text.size());
  octal(header.mtime, static_cast<unsigned long>(at));
  header.type = '0';
  std::memcpy(header.magic.data(), "ustar", 6);
  std::memcpy(header.version.data(), "00", 2);
  header.checksum.fill(' ');
  unsigned long sum = 0;
  std::array<unsigned char, block> bytes;
  std::memcpy(bytes.data(), &header, block);
  for (const auto byte : bytes) sum += byte;
  std::snprintf(header.checksum.data(), header.checksum.size(), "%06lo",
                sum);  // NUL, then the blank that is there
  return header;
}

// Compresses as it is fed.
class Gzip {
 public:
  Gzip() {
    // 16 more: with gzip's header. Fails only without memory.
    good_ =
        ::deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~Gzip() { ::deflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  void feed(const char* bytes, std::size_t size, int flush = Z_NO_FLUSH) {
    if (!good_) return;
    // zlib reads them only, though its interface does not say so.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes));
    stream_.avail_in = static_cast<uInt>(size);
    std::array<char, 64 * 1024> piece;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream_.avail_out = piece.size();
      good_ = ::deflate(&stream_, flush) != Z_STREAM_ERROR;
      out_.append(piece.data(), piece.size() - stream_.avail_out);
    } while (good_ && stream_.avail_out == 0);
  }
  Result<std::string> end() {
    feed(nullptr, 0, Z_FINISH);
    if (!good_) return make_error(Errc::internal, "zlib could not compress the bundle");
    return std::move(out_);
  }

 private:
  z_stream stream_{};
  bool good_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> tar_gz(const std::vector<ArchivedFile>& files, std::time_t at) {
  static constexpr std::array<char, 2 * block> zeros{};
  Gzip gzip;
  for (const auto& file : files) {
    const auto header = header_of(file, at);
    if (!header) return header.error();
    gzip.feed(reinterpret_cast<const char*>(&*header), block);
    gzip.feed(file.text.data(), file.text.size());
    gzip.feed(zeros.data(), (block - file.text.size() % block) % block);
  }
  gzip.feed(zeros.data(), zeros.size());
  return gzip.end();
}

}  // namespace heddle::tools
