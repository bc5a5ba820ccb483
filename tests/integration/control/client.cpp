// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "api/linkerd/destination.grpc.pb.h"
#include "api/linkerd/identity.grpc.pb.h"

namespace heddle::test {

struct Channel::Parts {
  std::shared_ptr<grpc::Channel> channel;
};

Channel::Channel(const std::string& address, const std::string& trust_anchors, const std::string& server_name)
    : parts_(std::make_unique<Parts>()) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = trust_anchors;
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(server_name);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // every Channel its own connection
  parts_->channel = grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
}

Channel::~Channel() = default;

namespace {

void set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

auto open(destination_api::Destination::Stub& stub, grpc::ClientContext& context,
          const destination_api::GetDestination& request, const destination_api::Update*) {
  return stub.Get(&context, request);
}

auto open(destination_api::Destination::Stub& stub, grpc::ClientContext& context,
          const destination_api::GetDestination& request, const destination_api::DestinationProfile*) {
  return stub.GetProfile(&context, request);
}

}  // namespace

template <class Message>
struct StreamClient<Message>::Parts {
  std::unique_ptr<destination_api::Destination::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<Message>> reader;
  bool ended = false;  // a read failed: the status is there
  bool finished = false;
};

template <class Message>
StreamClient<Message>::StreamClient(const Channel& channel, const std::string& path,
                                    const std::string& context_token)
    : parts_(std::make_unique<Parts>()) {
  parts_->stub = destination_api::Destination::NewStub(channel.parts().channel);
  set_deadline(parts_->context);
  destination_api::GetDestination request;
  request.set_scheme("k8s");
  request.set_path(path);
  request.set_context_token(context_token);
  parts_->reader = open(*parts_->stub, parts_->context, request, static_cast<const Message*>(nullptr));
}

template <class Message>
StreamClient<Message>::~StreamClient() {
  if (parts_ && !parts_->finished) finish();
}

template <class Message>
StreamClient<Message>::StreamClient(StreamClient&&) noexcept = default;

template <class Message>
std::optional<Message> StreamClient<Message>::next() {
  Message message;
  if (parts_->reader->Read(&message)) return message;
  parts_->ended = true;
  return std::nullopt;
}

template <class Message>
Status StreamClient<Message>::finish() {
  parts_->finished = true;
  if (!parts_->ended) parts_->context.TryCancel();
  Message ignored;
  while (parts_->reader->Read(&ignored)) {
  }
  const grpc::Status status = parts_->reader->Finish();
  return {status.error_code(), status.error_message()};
}

template class StreamClient<destination_api::Update>;
template class StreamClient<destination_api::DestinationProfile>;

Status certify(const Channel& channel, const identity_api::CertifyRequest& request,
               identity_api::CertifyResponse& response, const std::string& agent_token) {
  const auto stub = identity_api::Identity::NewStub(channel.parts().channel);
  grpc::ClientContext context;
  if (!agent_token.empty()) context.AddMetadata("authorization", "Bearer " + agent_token);
  set_deadline(context);
  const grpc::Status status = stub->Certify(&context, request, &response);
  return {status.error_code(), status.error_message()};
}

Status call_unknown(const Channel& channel) {
  grpc::GenericStub stub(channel.parts().channel);
  grpc::ClientContext context;
  set_deadline(context);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, "/io.linkerd.proxy.outbound.OutboundPolicies/Get",
                                          grpc::ByteBuffer(), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &queue);
  void* tag = nullptr;
  bool done = false;
  queue.Next(&tag, &done);
  return {status.error_code(), status.error_message()};
}

}  // namespace heddle::test
