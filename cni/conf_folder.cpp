// SPDX-License-Identifier: Apache-2.0
#include "cni/conf_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/io/file.h"
#include "cni/conflist.h"

namespace heddle::cni {
namespace {

constexpr std::array<std::string_view, 3> extensions{".conf", ".conflist", ".json"};

bool is_configuration(std::string_view name) {
  return std::any_of(extensions.begin(), extensions.end(), [&](std::string_view extension) {
    return name.size() > extension.size() && name.ends_with(extension);
  });
}

}  // namespace

Result<std::vector<std::string>> configuration_names(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), ::closedir);
  if (!dir) return make_errno(errno, "cannot list " + folder);
  std::vector<std::string> out;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == own_list_name || !is_configuration(name)) continue;
    struct stat info{};
    if (::stat((folder + "/" + entry->d_name).c_str(), &info) == 0 && S_ISREG(info.st_mode))
      out.emplace_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool is_list(std::string_view name) {
  return name.ends_with(".conflist");
}

std::string stem(std::string_view name) {
  return std::string(name.substr(0, name.rfind('.')));
}

Result<ConfFile> read_conf(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return make_errno(errno, "cannot resolve " + path);
  ConfFile out;
  out.path = real.get();
  struct stat info{};
  if (::stat(out.path.c_str(), &info) != 0) return make_errno(errno, "cannot look at " + out.path);
  out.mode = info.st_mode & 07777;
  auto text = read_file(out.path, max_conflist_bytes);
  if (!text) return text.error();
  out.text = std::move(*text);
  return out;
}

namespace {

Error busy(const std::string& path) {
  return make_error(Errc::unavailable, path + " is being rewritten by another program; try again");
}

// File systems without RENAME_EXCHANGE: the moment between looking and renaming is as short as it can be.
Result<> replace_by_looking(const ConfFile& file, const std::string& fresh) {
  const auto now = read_file(file.path, max_conflist_bytes);
  if (!now || *now != file.text) {
    ::unlink(fresh.c_str());
    return now ? busy(file.path) : now.error();
  }
  return rename_file(fresh, file.path);
}

bool exchange(const std::string& a, const std::string& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

}  // namespace

// What comes out of the exchange tells whether anybody was quicker; what was not ours to replace is put back.
Result<> replace_conf(const ConfFile& file, std::string_view text) {
  const std::string fresh = file.path + std::string(new_suffix);
  if (auto written = write_file_atomically(fresh, text, file.mode); !written) return written;
  if (!exchange(fresh, file.path)) {
    if (errno == EINVAL || errno == ENOSYS) return replace_by_looking(file, fresh);
    Error error = make_errno(errno, "cannot replace " + file.path);
    ::unlink(fresh.c_str());
    return error;
  }
  auto out = read_file(fresh, max_conflist_bytes);
  if (out && *out == file.text) return remove_file(fresh);
  std::string placed(text);  // by us, last
  for (int attempts = 16; attempts > 0; --attempts) {
    const std::string back = out ? *out : std::string();
    if (!exchange(fresh, file.path)) break;
    out = read_file(fresh, max_conflist_bytes);
    if (!out || *out == placed) break;
    placed = back;  // and yet somebody was quicker
  }
  ::unlink(fresh.c_str());
  return busy(file.path);
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

void remove_leftovers(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    const auto temporary = name.rfind(".tmp.");
    const bool unfinished = temporary != std::string::npos && name.find("heddle") < temporary &&
                            name.find_first_not_of("0123456789", temporary + 5) == std::string::npos;
    if (unfinished || name.ends_with(new_suffix)) ::unlink(entry.path().c_str());
  }
}

Result<> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return make_errno(errno, "cannot remove " + path);
  return {};
}

Result<> rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return make_errno(errno, "cannot rename " + from + " to " + to);
  return {};
}

Result<Fd> lock_folder(const std::string& folder) {
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return make_errno(errno, "cannot open " + folder);
  if (::flock(fd.get(), LOCK_EX) != 0) return make_errno(errno, "cannot lock " + folder);
  return fd;
}

}  // namespace heddle::cni
