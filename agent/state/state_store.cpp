// SPDX-License-Identifier: Apache-2.0
#include "agent/state/state_store.h"

#include "base/io/file.h"

namespace heddle::agent {

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
  auto text = std::make_shared<const std::string>(encode_state(mark_, lines));
  auto result = std::make_shared<Result<>>();
  auto waiting = std::make_shared<std::vector<Done>>();
  waiting->swap(waiting_);
  loop_.background([text, result, path = path_] { *result = write_file_atomically(path, *text, 0600); },
                   [this, result, waiting] {
                     writing_ = false;
                     if (!waiting_.empty()) write();
                     for (auto& done : *waiting) done(*result);
                   });
}

}  // namespace heddle::agent
