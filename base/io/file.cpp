// SPDX-License-Identifier: Apache-2.0
#include "base/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace heddle {

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return make_errno(errno, "cannot open " + path);
  std::string out;
  char chunk[16384];
  while (true) {
    const ssize_t got = ::read(fd.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_errno(errno, "cannot read " + path);
    if (got == 0) return out;
    if (out.size() + static_cast<std::size_t>(got) > limit) {
      return make_error(Errc::exhausted, path + " is larger than " + std::to_string(limit) + " bytes");
    }
    out.append(chunk, static_cast<std::size_t>(got));
  }
}

Result<> write_file_atomically(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return make_errno(errno, "cannot create " + temporary);
  const auto fail = [&](const char* what) {
    const int saved = errno;
    ::unlink(temporary.c_str());
    return make_errno(saved, std::string("cannot ") + what + " " + path);
  };
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd.get(), content.data(), content.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail("write");
    content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::fchmod(fd.get(), mode) != 0) return fail("set the mode of");
  if (::fsync(fd.get()) != 0) return fail("sync");
  fd.reset();  // a program that is open for writing cannot be run (ETXTBSY)
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail("replace");
  return {};
}

Result<> make_directories(const std::string& path, mode_t mode) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (!part.empty() && ::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      return make_errno(errno, "cannot make folder " + part);
    }
    if (slash == std::string::npos) return {};
  }
}

}  // namespace heddle
