// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/discovery.h"

#include <algorithm>
#include <array>

#include "control/source/reader.h"

namespace heddle::source::kubernetes {
namespace {

constexpr std::string_view group = "discovery.k8s.io";
constexpr std::array<std::string_view, 2> understood{"v1", "v1beta1"};  // best first

std::vector<std::string> candidates_of(Reader& in, const Value& groups) {
  std::vector<std::string> served;
  in.each_in(&groups, "groups", [&](const Value& item) {
    if (in.text(&item, "name") != group) return;
    in.each_in(&item, "versions",
               [&](const Value& version) { served.push_back(in.text(&version, "version")); });
  });
  std::vector<std::string> out;
  for (const std::string_view version : understood) {
    if (std::ranges::find(served, version) != served.end()) out.emplace_back(version);
  }
  return out;
}

// In every namespace, with the verbs that are needed.
bool serves_slices(Reader& in, const Value& resources) {
  bool found = false;
  in.each_in(&resources, "resources", [&](const Value& item) {
    if (in.text(&item, "name") != "endpointslices") return;
    bool list = false;
    bool watch = false;
    in.each_in(&item, "verbs", [&](const Value& verb) {
      list |= verb.scalar == "list";
      watch |= verb.scalar == "watch";
    });
    found |= list && watch;
  });
  return found;
}

}  // namespace

std::string Discovery::next() const {
  if (!groups_known_) return "/apis";
  return "/apis/" + std::string(group) + "/" + candidates_.front();
}

Result<> Discovery::on_answer(int status, std::string_view body) {
  const std::string asked = next();
  if (groups_known_ && status == 404) {
    use_next_candidate();
    return {};
  }
  if (status != 200) {
    return make_error(Errc::unavailable, asked + " answered status " + std::to_string(status));
  }
  const auto values = read_json(body);
  if (!values || values->size() != 1 || values->front().kind != Value::Kind::map) {
    return make_error(Errc::protocol, asked + " answered something that is not a list of the API");
  }
  Reader in;
  if (!groups_known_) {
    auto candidates = candidates_of(in, values->front());
    if (auto read = in.result(); !read) return read;
    candidates_ = std::move(candidates);
    groups_known_ = true;
    if (candidates_.empty()) use_next_candidate();
    return {};
  }
  const bool slices = serves_slices(in, values->front());
  if (auto read = in.result(); !read) return read;
  if (!slices) {
    use_next_candidate();
    return {};
  }
  const std::string api_version = std::string(group) + "/" + candidates_.front();
  found_ = Resource{"/apis/" + api_version + "/endpointslices", "EndpointSlice", api_version};
  return {};
}

void Discovery::use_next_candidate() {
  if (!candidates_.empty()) candidates_.erase(candidates_.begin());
  if (candidates_.empty()) found_ = Resource{"/api/v1/endpoints", "Endpoints", "v1"};
}

}  // namespace heddle::source::kubernetes
