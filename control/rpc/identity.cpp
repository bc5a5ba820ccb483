// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>

#include "api/linkerd/identity.grpc.pb.h"
#include "control/certify/certifier.h"
#include "control/rpc/services.h"
#include "control/source/source.h"

namespace heddle::control {
namespace {

namespace identity_api = ::io::linkerd::proxy::identity;

grpc::StatusCode code_of(Refusal reason) {
  switch (reason) {
    case Refusal::token:
      return grpc::StatusCode::UNAUTHENTICATED;
    case Refusal::not_scheduled:
      return grpc::StatusCode::PERMISSION_DENIED;
    case Refusal::bad_request:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Refusal::rate:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Refusal::unavailable:
      break;
  }
  return grpc::StatusCode::UNAVAILABLE;
}

void encode(const IssuedCertificate& issued, identity_api::CertifyResponse& response) {
  response.set_leaf_certificate(issued.leaf);
  for (const std::string& certificate : issued.intermediates)
    response.add_intermediate_certificates(certificate);
  response.mutable_valid_until()->set_seconds(Clock::to_time_t(issued.valid_until));
}

class IdentityService final : public identity_api::Identity::CallbackService {
 public:
  IdentityService(Certifier& certifier, const source::Source& source)
      : certifier_(certifier), source_(source) {}

  // Signing takes some 0.2 ms: not worth a thread of its own.
  grpc::ServerUnaryReactor* Certify(grpc::CallbackServerContext* context,
                                    const identity_api::CertifyRequest* request,
                                    identity_api::CertifyResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const auto outcome = certifier_.certify(
        {request->identity(), request->token(), request->certificate_signing_request()}, *source_.current());
    if (const auto* refused = std::get_if<Refused>(&outcome)) {
      reactor->Finish(grpc::Status(code_of(refused->reason), refused->why));
      return reactor;
    }
    encode(std::get<IssuedCertificate>(outcome), *response);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  Certifier& certifier_;
  const source::Source& source_;
};

}  // namespace

std::shared_ptr<grpc::Service> make_identity_service(Certifier& certifier, const source::Source& source) {
  return std::make_shared<IdentityService>(certifier, source);
}

}  // namespace heddle::control
