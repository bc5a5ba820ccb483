// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/entry.h"

namespace heddle::proxy {

void Entry::profile(ProfileUpdate update) {
  const std::string before = wanted_path();
  profile_ = std::move(update);
  if (wanted_path() == before) return;
  // Another service answers at this address now: nothing of the old one counts.
  state_ = Endpoints::unknown;
  set_.clear();
  labels_.clear();
  replace_ = true;
  overdue_ = false;
}

void Entry::profile_ended(StreamEnd end) {
  // A broken stream says nothing; a refusal is an answer.
  if (end != StreamEnd::broken) profile(ProfileUpdate{});
}

void Entry::endpoints(EndpointsUpdate update) {
  if (update.kind == EndpointsUpdate::Kind::other) return;
  if (update.kind == EndpointsUpdate::Kind::remove && replace_) return;  // of what we no longer trust anyway
  if (replace_) {
    set_.clear();
    replace_ = false;
  }
  state_ = Endpoints::known;
  switch (update.kind) {
    case EndpointsUpdate::Kind::add:
      labels_ = std::move(update.labels);
      for (auto& info : update.added) set_.insert_or_assign(info.address, std::move(info));
      break;
    case EndpointsUpdate::Kind::remove:
      for (const auto& address : update.removed) set_.erase(address);
      break;
    case EndpointsUpdate::Kind::none:
      set_.clear();
      if (!update.exists) state_ = Endpoints::missing;
      break;
    case EndpointsUpdate::Kind::other:
      break;
  }
}

void Entry::endpoints_ended(StreamEnd end) {
  if (end == StreamEnd::broken) return;
  set_.clear();
  state_ = end == StreamEnd::not_found ? Endpoints::missing : Endpoints::unsupported;
}

std::string Entry::wanted_path() const {
  if (!profile_ || profile_->name.empty()) return {};
  return profile_->name + ":" + std::to_string(address_.port);
}

Resolution Entry::resolution() const {
  Resolution r;
  r.authority = name_.empty() ? address_.to_string() : name_ + ":" + std::to_string(address_.port);
  if (!profile_) {
    if (overdue_) {
      r.state = Destination::State::not_found;
      r.unavailable = true;
    }
    return r;
  }
  r.opaque = profile_->opaque;
  r.labels = profile_->labels;
  if (!profile_->name.empty() && state_ != Endpoints::unsupported) {
    r.authority = wanted_path();
    for (const auto& [key, value] : labels_) r.labels.insert_or_assign(key, value);
    if (state_ == Endpoints::missing) {
      r.state = Destination::State::not_found;
    } else if (state_ == Endpoints::known || overdue_) {
      // Overdue: control knows the service and stays silent about its endpoints, as Linkerd's does without
      // any.
      r.state = Destination::State::service;
      for (const auto& [address, info] : set_) {
        r.endpoints.push_back(info);
        // Both end up in one label set of metrics: what the service says is not said again.
        for (const auto& [key, value] : r.labels) r.endpoints.back().labels.erase(key);
      }
    }
    return r;
  }
  r.state = Destination::State::endpoint;
  if (profile_->endpoint) {
    r.labels.clear();  // the endpoint has its own
    r.endpoint = profile_->endpoint;
    r.opaque = r.opaque || profile_->endpoint->hint == ProtocolHint::opaque;
  } else if (!name_.empty()) {
    r.state = Destination::State::not_found;
  } else {
    r.endpoint.emplace();
    r.endpoint->address = address_;
  }
  return r;
}

}  // namespace heddle::proxy
