// SPDX-License-Identifier: Apache-2.0
#include "control/rpc/server.h"

#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <spdlog/spdlog.h>

namespace heddle::control {

struct RpcServer::Parts {
  std::shared_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

namespace {

constexpr int largest_request = 64 * 1024;
constexpr int streams_per_connection = 20'000;
constexpr unsigned certificate_check_seconds = 1;

std::shared_ptr<grpc::ServerCredentials> credentials(const RpcServer::Options& options) {
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions tls_options(std::make_shared<tls::FileWatcherCertificateProvider>(
      options.key_path, options.certificate_path, certificate_check_seconds));
  tls_options.watch_identity_key_cert_pairs();
  tls_options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(tls_options);
}

void set_limits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(largest_request);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, streams_per_connection);
  // Two servers on one port would answer from two different states.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A node that lost power must not keep its streams; proxies ping us, too, and must not be scolded for it.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
}

void log_line(gpr_log_func_args* args) {
  switch (args->severity) {
    case GPR_LOG_SEVERITY_ERROR:
      return spdlog::warn("grpc: {}", args->message);
    case GPR_LOG_SEVERITY_INFO:
      return spdlog::debug("grpc: {}", args->message);
    default:
      return spdlog::trace("grpc: {}", args->message);
  }
}

}  // namespace

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RpcServer::~RpcServer() {
  stop(std::chrono::system_clock::now());
}

Result<std::unique_ptr<RpcServer>> RpcServer::start(const Options& options,
                                                    std::shared_ptr<grpc::Service> service) {
  auto parts = std::make_unique<Parts>();
  parts->service = std::move(service);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.address, credentials(options), &parts->port);
  builder.RegisterService(parts->service.get());
  set_limits(builder);
  parts->server = builder.BuildAndStart();
  if (!parts->server || parts->port == 0) {
    return make_error(Errc::unavailable,
                      "cannot listen on " + options.address +
                          ": is another process there, or is the address not this host's?");
  }
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(parts)));
}

int RpcServer::port() const {
  return parts_->port;
}

void RpcServer::stop(std::chrono::system_clock::time_point deadline) {
  if (!parts_->server) return;
  parts_->server->Shutdown(deadline);
  parts_->server->Wait();
  parts_->server.reset();
}

void send_grpc_log_to_ours() {
  gpr_set_log_function(log_line);
}

}  // namespace heddle::control
