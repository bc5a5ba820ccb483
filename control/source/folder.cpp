// SPDX-License-Identifier: Apache-2.0
#include "control/source/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/fd.h"
#include "base/io/file.h"
#include "control/source/decode.h"

namespace heddle::source {
namespace {

// Long enough to take a burst (a lab's hundred pods) as one change, short enough for nobody to notice.
constexpr int quiet_ms = 4;
constexpr int burst_ms = 40;
constexpr int retry_ms = 500;

std::optional<Format> format_of(std::string_view name) {
  if (name.starts_with(".")) return std::nullopt;
  if (name.ends_with(".yaml") || name.ends_with(".yml")) return Format::yaml;
  if (name.ends_with(".json")) return Format::json;
  return std::nullopt;
}

// What inotify reported since the last look.
struct Changes {
  std::set<std::string> names;
  bool everything = false;  // events were lost, or a symbolic link was swapped
  bool folder_gone = false;

  bool any() const { return everything || folder_gone || !names.empty(); }
};

class FolderSource : public Source {
 public:
  explicit FolderSource(std::string path) : path_(std::move(path)) {}
  ~FolderSource() override {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    if (::write(stop_.get(), &one, sizeof one) != sizeof one) std::abort();
    thread_.join();
  }

  Result<> start(Listener on_change) override;
  std::shared_ptr<const Snapshot> current() const override {
    const std::lock_guard lock(mutex_);
    return current_;
  }
  Status status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  struct File {
    Objects objects;  // the last good ones
    std::size_t content_hash = 0;
    std::string complaint;  // empty: fine
  };

  Result<> watch();
  void run();
  bool wait(int timeout_ms, bool& stopping);
  void drain(Changes& changes);
  void note(const inotify_event& event, Changes& changes);
  void lose_folder();
  bool apply(const Changes& changes);
  bool rescan();
  bool reload(const std::string& name);
  bool set_broken(File& file, const std::string& why);
  void publish();
  void tell_of_duplicates();

  const std::string path_;
  Listener on_change_;
  Fd inotify_;
  Fd stop_;
  std::thread thread_;
  std::map<std::string, File> files_;  // the thread's own, after start()
  std::uint64_t errors_ = 0;
  bool connected_ = false;
  std::string duplicate_;    // what was last told of; empty: nothing
  bool announcing_ = false;  // the first snapshot is only for current()

  mutable std::mutex mutex_;
  std::shared_ptr<const Snapshot> current_ = std::make_shared<const Snapshot>(Objects{}, 0);
  Status status_;
};

Result<> FolderSource::start(Listener on_change) {
  on_change_ = std::move(on_change);
  stop_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_) return make_errno(errno, "eventfd");
  if (auto watched = watch(); !watched) return watched;
  rescan();
  publish();
  announcing_ = on_change_ != nullptr;
  thread_ = std::thread([this] { run(); });
  return {};
}

Result<> FolderSource::watch() {
  inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_) return make_errno(errno, "inotify_init1 (see sysctl fs.inotify.max_user_instances)");
  const std::uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE |
                             IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  if (::inotify_add_watch(inotify_.get(), path_.c_str(), mask) < 0) {
    return make_errno(errno, "cannot watch the folder of objects " + path_ + " (make it first)");
  }
  connected_ = true;
  return {};
}

void FolderSource::run() {
  bool stopping = false;
  while (!stopping) {
    if (!connected_) {
      wait(retry_ms, stopping);
      if (stopping || !watch()) continue;
      spdlog::info("folder of objects is back path={}", path_);
      rescan();
      publish();
      continue;
    }
    wait(-1, stopping);
    Changes changes;
    drain(changes);
    for (int waited = 0; changes.any() && !stopping && waited < burst_ms; waited += quiet_ms) {
      if (!wait(quiet_ms, stopping)) break;
      drain(changes);
    }
    if (!stopping && changes.any() && apply(changes)) publish();
  }
}

// True if inotify has something to read.
bool FolderSource::wait(int timeout_ms, bool& stopping) {
  pollfd polled[2] = {{stop_.get(), POLLIN, 0}, {connected_ ? inotify_.get() : -1, POLLIN, 0}};
  if (::poll(polled, 2, timeout_ms) < 0) return false;
  if (polled[0].revents != 0) stopping = true;
  return polled[1].revents != 0;
}

void FolderSource::drain(Changes& changes) {
  alignas(inotify_event) char buffer[16 * 1024];
  while (true) {
    const ssize_t got = ::read(inotify_.get(), buffer, sizeof buffer);
    if (got <= 0) return;
    for (const char* at = buffer; at < buffer + got;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(at);
      note(event, changes);
      at += sizeof(inotify_event) + event.len;
    }
  }
}

void FolderSource::note(const inotify_event& event, Changes& changes) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) changes.everything = true;
  if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0) changes.folder_gone = true;
  if (event.len == 0) {
    // The folder's own mode: what could not be listed perhaps can be now.
    if ((event.mask & IN_ATTRIB) != 0) changes.everything = true;
    return;
  }
  const std::string name(event.name);
  // kubelet swaps a volume's files by renaming the symbolic link "..data", which names none of them.
  if (name.starts_with("..")) changes.everything = true;
  if (!format_of(name)) return;
  if ((event.mask & IN_CREATE) != 0) {
    // A file being written announces itself again when it is closed; links are complete at once.
    struct stat status{};
    const int got = ::lstat((path_ + "/" + name).c_str(), &status);
    if (got == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1) return;
  }
  changes.names.insert(name);
}

void FolderSource::lose_folder() {
  connected_ = false;
  inotify_.reset();
  spdlog::warn("folder of objects is gone, its last objects stay in use: make it again path={}", path_);
  const std::lock_guard lock(mutex_);
  status_.connected = false;
}

bool FolderSource::apply(const Changes& changes) {
  if (changes.folder_gone) {
    lose_folder();
    return false;
  }
  if (changes.everything) return rescan();
  bool changed = false;
  for (const std::string& name : changes.names) changed |= reload(name);
  return changed;
}

// Reads every file again. An unreadable folder changes nothing.
bool FolderSource::rescan() {
  DIR* folder = ::opendir(path_.c_str());
  if (folder == nullptr) {
    spdlog::error(
        "cannot list the folder of objects, keeping what was read: check its permissions path={} "
        "error=\"{}\"",
        path_, std::strerror(errno));
    return false;
  }
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    if (format_of(entry->d_name)) names.insert(entry->d_name);
  }
  ::closedir(folder);
  for (const auto& [name, file] : files_) names.insert(name);
  bool changed = false;
  for (const std::string& name : names) changed |= reload(name);
  return changed;
}

// True if the objects or the state of this file changed.
bool FolderSource::reload(const std::string& name) {
  const std::string path = path_ + "/" + name;
  struct stat status{};
  const int error = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  if (error == ENOENT) return files_.erase(name) != 0;
  File& file = files_[name];
  const auto unreadable = [&](const std::string& why) {
    file.content_hash = 0;  // the same content is news again once it can be read
    return set_broken(file, why);
  };
  if (error != 0) return unreadable(path + ": " + std::strerror(error));
  // A FIFO or device would block the reader.
  if (!S_ISREG(status.st_mode)) return unreadable(path + ": not a regular file");
  const auto content = read_file(path, Limits{}.bytes);
  if (!content) return unreadable(content.error().message());
  const std::size_t hash = std::hash<std::string>{}(*content) | 1;
  if (hash == file.content_hash) return false;
  file.content_hash = hash;
  auto objects = parse_objects(*content, *format_of(name));
  if (!objects) return set_broken(file, path + ":" + objects.error().detail);
  file.objects = std::move(*objects);
  file.complaint.clear();
  return true;
}

bool FolderSource::set_broken(File& file, const std::string& why) {
  if (file.complaint == why) return false;
  file.complaint = why;
  ++errors_;
  spdlog::error("cannot use a file of objects, its last good objects ({}) stay in use: {}",
                file.objects.size(), why);
  return true;
}

void FolderSource::publish() {
  Objects objects;
  Status status;
  for (const auto& [name, file] : files_) {
    objects.append(file.objects);
    status.broken_files += file.complaint.empty() ? 0 : 1;
  }
  status.objects = objects.size();
  status.errors = errors_;
  status.connected = connected_;
  status.synced = true;
  std::shared_ptr<const Snapshot> next;
  {
    const std::lock_guard lock(mutex_);
    status.version = status_.version + 1;
    next = std::make_shared<const Snapshot>(std::move(objects), status.version);
    current_ = next;
    status_ = status;
  }
  if (next->objects().size() < status.objects || !duplicate_.empty()) tell_of_duplicates();
  if (announcing_) on_change_(next);
}

// A copy left behind silently hides the original, or is hidden by it. Told once.
void FolderSource::tell_of_duplicates() {
  std::map<std::string, const std::string*> seen;  // object -> file
  std::string found;
  const auto look = [&](const auto& list, const char* kind, const std::string& file) {
    for (const auto& object : list) {
      const auto [at, is_new] =
          seen.try_emplace(std::string(kind) + " " + object->meta.ns + "/" + object->meta.name, &file);
      if (!is_new && found.empty()) found = at->first + " in " + *at->second + " and " + file;
    }
  };
  for (const auto& [name, file] : files_) {
    look(file.objects.namespaces, "Namespace", name);
    look(file.objects.nodes, "Node", name);
    look(file.objects.pods, "Pod", name);
    look(file.objects.service_accounts, "ServiceAccount", name);
    look(file.objects.services, "Service", name);
    look(file.objects.slices, "EndpointSlice", name);
  }
  if (found == duplicate_) return;
  duplicate_ = found;
  if (!found.empty()) {
    spdlog::warn("an object is there twice, the later one is used: remove one folder={} object=\"{}\"", path_,
                 found);
  }
}

}  // namespace

std::unique_ptr<Source> make_folder_source(std::string path) {
  return std::make_unique<FolderSource>(std::move(path));
}

}  // namespace heddle::source
