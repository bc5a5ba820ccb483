// SPDX-License-Identifier: Apache-2.0
#include "agent/state/state_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/fd.h"

namespace heddle::agent {
namespace {

// Atomic, and safe from the death of this process, without fsync(2): the network namespaces that the file
// speaks of do not outlive the kernel either, and a sync costs more than everything else in an enrolment
// where RUN is on a disk.
Result<> replace_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".new";
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return make_errno(errno, "cannot create " + temporary);
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd.get(), content.data(), content.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      const int saved = errno;
      ::unlink(temporary.c_str());
      return make_errno(saved, "cannot write " + temporary);
    }
    content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return make_errno(errno, "cannot replace " + path);
  return {};
}

}  // namespace

void StateStore::put(const Sandbox& sandbox, Done done) {
  lines_[sandbox.facts.container_id] = encode_sandbox(sandbox);
  waiting_.push_back(std::move(done));
  if (!writing_) write();
}

void StateStore::erase(const std::string& container_id, Done done) {
  lines_.erase(container_id);
  waiting_.push_back(std::move(done));
  if (!writing_) write();
}

void StateStore::write() {
  writing_ = true;
  ++writes_;
  std::vector<std::string_view> lines;
  lines.reserve(lines_.size());
  for (const auto& [id, line] : lines_) lines.push_back(line);
  auto text = std::make_shared<const std::string>(encode_state(mark_, boot_, lines));
  auto result = std::make_shared<Result<>>();
  auto waiting = std::make_shared<std::vector<Done>>();
  waiting->swap(waiting_);
  loop_.background([text, result, path = path_] { *result = replace_file(path, *text); },
                   [this, result, waiting] {
                     writing_ = false;
                     if (!waiting_.empty()) write();
                     for (auto& done : *waiting) done(*result);
                   });
}

}  // namespace heddle::agent
