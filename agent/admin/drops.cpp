// SPDX-License-Identifier: Apache-2.0
#include "agent/admin/drops.h"

#include <boost/json.hpp>

namespace heddle::agent {

void DropLog::watch(Datapath* datapath) {
  if (datapath == datapath_) return;
  readable_.reset();
  datapath_ = datapath;
  if (datapath_ == nullptr) return;
  readable_ = loop_.watch(datapath_->drops_fd(), Loop::Ready::readable, [this] { read(); });
  read();
}

void DropLog::read() {
  if (datapath_ == nullptr) return;
  datapath_->read_drops([this](const DropEvent& event) { add(event); });
}

void DropLog::add(const DropEvent& event) {
  ++total_;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  boost::json::object out{
      {"time_unix_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now).count()},
      {"verdict", verdict_name(event.verdict)},
      {"pod_id", event.pod_id},
      {"local", event.local.to_string()},
      {"remote", event.remote.to_string()}};
  if (const Sandbox* sandbox = registry_.find_pod(event.pod_id)) {
    out["namespace"] = sandbox->spec.ns;
    out["pod"] = sandbox->spec.name;
  }
  recent_.push_back(boost::json::serialize(out));
  if (recent_.size() > capacity) recent_.pop_front();
  const std::string line = recent_.back() + "\n";
  std::erase_if(followers_, [&](const Follower& follower) { return !follower(line); });
}

}  // namespace heddle::agent
