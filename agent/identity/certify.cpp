// SPDX-License-Identifier: Apache-2.0
#include "agent/identity/certify.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <set>

#include "api/linkerd/identity.grpc.pb.h"
#include "base/io/file.h"

namespace heddle::agent {
namespace {

namespace api = io::linkerd::proxy::identity;

constexpr std::size_t max_token_bytes = 64 * 1024;
constexpr std::size_t max_anchors_bytes = 1024 * 1024;

struct Call {
  grpc::ClientContext context;
  api::CertifyRequest request;
  api::CertifyResponse response;
  std::unique_ptr<api::Identity::Stub> stub;
  IdentityClient::Done done;
};

Error to_error(const grpc::Status& status, const std::string& address) {
  const std::string text = "control at " + address + ": " + status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return make_error(Errc::timeout, text);
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return make_error(Errc::permission_denied, text);
    case grpc::StatusCode::INVALID_ARGUMENT:
      return make_error(Errc::invalid_argument, text);
    case grpc::StatusCode::UNIMPLEMENTED:
      return make_error(Errc::unsupported, text);
    default:
      return make_error(Errc::unavailable, text);
  }
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

struct IdentityClient::Impl {
  Options options;
  std::string anchors;
  std::shared_ptr<grpc::Channel> channel;
  std::mutex mutex;
  std::condition_variable idle;
  std::set<Call*> calls;

  Result<> connect();
  void finish(const std::shared_ptr<Call>& call, const grpc::Status& status);
};

Result<> IdentityClient::Impl::connect() {
  auto pem = read_file(options.trust_anchors, max_anchors_bytes);
  if (!pem) {
    return make_error(Errc::unavailable, "cannot read --trust-anchors: " + pem.error().message());
  }
  if (channel && *pem == anchors) return {};
  anchors = std::move(*pem);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = anchors;
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(options.server_name);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  channel = grpc::CreateCustomChannel(options.address, grpc::SslCredentials(tls), arguments);
  return {};
}

void IdentityClient::Impl::finish(const std::shared_ptr<Call>& call, const grpc::Status& status) {
  if (!status.ok()) {
    call->done(to_error(status, options.address));
  } else if (call->response.leaf_certificate().empty()) {
    call->done(
        make_error(Errc::protocol, "control at " + options.address + " answered without a certificate"));
  } else {
    IssuedCertificate issued;
    issued.leaf = call->response.leaf_certificate();
    for (const auto& der : call->response.intermediate_certificates()) issued.intermediates.push_back(der);
    issued.valid_until_unix = static_cast<std::uint64_t>(call->response.valid_until().seconds());
    call->done(std::move(issued));
  }
  const std::lock_guard lock(mutex);
  calls.erase(call.get());
  idle.notify_all();
}

IdentityClient::IdentityClient(Options options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}

IdentityClient::~IdentityClient() {
  std::unique_lock lock(impl_->mutex);
  for (Call* call : impl_->calls) call->context.TryCancel();
  impl_->idle.wait(lock, [this] { return impl_->calls.empty(); });
}

void IdentityClient::certify(const std::string& identity, const std::string& csr,
                             const std::string& pod_token, Done done) {
  auto token = read_file(impl_->options.token_file, max_token_bytes);
  if (!token) {
    done(make_error(Errc::unavailable, "cannot read --token-file: " + token.error().message()));
    return;
  }
  if (auto connected = impl_->connect(); !connected) {
    done(connected.error());
    return;
  }
  auto call = std::make_shared<Call>();
  call->request.set_identity(identity);
  const std::string own_token = trimmed(std::move(*token));
  call->request.set_token(pod_token.empty() ? own_token : pod_token);
  if (!pod_token.empty()) call->context.AddMetadata("authorization", "Bearer " + own_token);
  call->request.set_certificate_signing_request(csr);
  call->context.set_deadline(std::chrono::system_clock::now() + impl_->options.deadline);
  call->stub = api::Identity::NewStub(impl_->channel);
  call->done = std::move(done);
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->calls.insert(call.get());
  }
  Call* raw = call.get();
  raw->stub->async()->Certify(
      &raw->context, &raw->request, &raw->response,
      [impl = impl_.get(), call](const grpc::Status& status) { impl->finish(call, status); });
}

}  // namespace heddle::agent
