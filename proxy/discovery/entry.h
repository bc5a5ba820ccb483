// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/discovery/directory.h"

namespace heddle::proxy {

// GetProfile's answer, as far as the proxy uses it.
struct ProfileUpdate {
  std::string name;  // of the service, without port; empty: not a service
  bool opaque = false;
  std::optional<EndpointInfo> endpoint;  // set when the address is a pod's
  std::map<std::string, std::string> labels;
};

// One message of Get.
struct EndpointsUpdate {
  // `other`: a kind that the API has got since; it says nothing here.
  enum class Kind : std::uint8_t { add, remove, none, other } kind = Kind::add;
  std::vector<EndpointInfo> added;
  std::vector<SocketAddress> removed;
  bool exists = false;  // none: the service itself exists
  std::map<std::string, std::string> labels;
};

// How a stream ended.
enum class StreamEnd : std::uint8_t {
  broken,     // control or the way to it failed: what is known stays
  not_found,  // control does not know it
  invalid,    // control says that this cannot be asked for
};

// What an address is, as told to the workers. Immutable.
struct Resolution {
  Destination::State state = Destination::State::pending;
  bool unavailable = false;
  std::string authority;
  bool opaque = false;
  std::vector<EndpointInfo> endpoints;   // service
  std::optional<EndpointInfo> endpoint;  // endpoint
  std::map<std::string, std::string> labels;

  bool operator==(const Resolution&) const = default;
};
using ResolutionRef = std::shared_ptr<const Resolution>;

// What discovery knows of one address, decided from what its two streams said. Pure.
//
//   profile has a name      -> service, once Get (name:port) has answered
//   profile has an endpoint -> endpoint, meshed if it says so
//   neither, or NotFound or InvalidArgument -> endpoint, unmeshed, the address itself; a name: not_found
//   Get: NotFound or no_endpoints(exists=false) -> not_found; InvalidArgument -> the same as neither
//   nothing at all in time  -> not_found, unavailable (fails closed)
class Entry {
 public:
  // `name`: what was asked for instead of an address, of which only the port counts then.
  explicit Entry(SocketAddress address, std::string name = {}) : address_(address), name_(std::move(name)) {}

  void profile(ProfileUpdate update);
  void profile_ended(StreamEnd end);
  void endpoints(EndpointsUpdate update);
  void endpoints_ended(StreamEnd end);
  // A stream of Get begins (again): its first update replaces what was known.
  void endpoints_began() { replace_ = true; }
  // The answer is overdue: of the profile, or of the endpoints of the service it named last.
  void overdue() { overdue_ = true; }

  // What Get should be asked for, "name:port"; empty: nothing.
  std::string wanted_path() const;
  bool answered() const { return profile_.has_value(); }
  Resolution resolution() const;

 private:
  enum class Endpoints : std::uint8_t { unknown, known, missing, unsupported };
  SocketAddress address_;
  std::string name_;
  std::optional<ProfileUpdate> profile_;
  Endpoints state_ = Endpoints::unknown;
  std::map<SocketAddress, EndpointInfo> set_;
  std::map<std::string, std::string> labels_;
  bool replace_ = true;
  bool overdue_ = false;
};

}  // namespace heddle::proxy
