// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/linkerd/destination.pb.h"
#include "api/linkerd/identity.pb.h"

// gRPC's headers are included by client.cpp only: they cost seconds per file.
namespace heddle::test {

namespace destination_api = ::io::linkerd::proxy::destination;
namespace identity_api = ::io::linkerd::proxy::identity;

// gRPC's codes (grpc/status.h), the ones the tests name.
enum Code {
  ok = 0,
  cancelled = 1,
  invalid_argument = 3,
  not_found = 5,
  permission_denied = 7,
  aborted = 10,
  unimplemented = 12,
  unavailable = 14,
  unauthenticated = 16
};

struct Status {
  int code = -1;
  std::string message;
};

class Channel {
 public:
  // TLS, verified against `trust_anchors` (PEM) and the server's identity.
  Channel(
      const std::string& address, const std::string& trust_anchors,
      const std::string& server_name = "heddle-control.heddle.serviceaccount.identity.heddle.cluster.local");
  ~Channel();
  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

// A stream with 20 s to live; next() waits for a message, nothing when the stream has ended.
template <class Message>
class StreamClient {
 public:
  StreamClient(const Channel& channel, const std::string& path, const std::string& context_token = {});
  ~StreamClient();
  StreamClient(StreamClient&&) noexcept;
  std::optional<Message> next();
  Status finish();  // after the end, or cancels

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};
using GetClient = StreamClient<destination_api::Update>;
using ProfileClient = StreamClient<destination_api::DestinationProfile>;

// `agent_token`: sent as the metadata "authorization: Bearer ..." unless it is empty.
Status certify(const Channel& channel, const identity_api::CertifyRequest& request,
               identity_api::CertifyResponse& response, const std::string& agent_token = {});
// Of a service that heddle-control does not offer.
Status call_unknown(const Channel& channel);

}  // namespace heddle::test
