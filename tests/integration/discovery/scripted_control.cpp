// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/discovery/scripted_control.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>

#include "api/linkerd/destination.grpc.pb.h"
#include "base/ip.h"

namespace heddle::test {
namespace {

namespace api = io::linkerd::proxy::destination;
using Refusal = ScriptedControl::Refusal;

void encode(const SocketAddress& from, io::linkerd::proxy::net::TcpAddress& to) {
  to.mutable_ip()->set_ipv4(from.ip.v4_host_order());
  to.set_port(from.port);
}

void encode(const std::string& text, api::WeightedAddr& to) {
  const auto equals = text.find('=');
  encode(SocketAddress::parse(text.substr(0, equals)).value(), *to.mutable_addr());
  if (equals == std::string::npos) return;
  to.mutable_tls_identity()->mutable_dns_like_identity()->set_name(text.substr(equals + 1));
  to.mutable_protocol_hint()->mutable_h2();
}

api::Update make_add(const std::vector<std::string>& endpoints) {
  api::Update update;
  (*update.mutable_add()->mutable_metric_labels())["namespace"] = "shop";
  for (const auto& each : endpoints) encode(each, *update.mutable_add()->add_addrs());
  return update;
}

grpc::Status status_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::not_found:
      return {grpc::StatusCode::NOT_FOUND, "no such thing"};
    case Refusal::invalid:
      return {grpc::StatusCode::INVALID_ARGUMENT, "not to be asked for"};
    case Refusal::unavailable:
      return {grpc::StatusCode::UNAVAILABLE, "not now"};
    default:
      return grpc::Status::OK;
  }
}

}  // namespace

struct ScriptedControl::Impl final : api::Destination::Service {
  struct Stream {
    std::string path;
    std::deque<api::Update> updates;
  };

  grpc::Status GetProfile(grpc::ServerContext* context, const api::GetDestination* request,
                          grpc::ServerWriter<api::DestinationProfile>* writer) override {
    std::unique_lock lock(mutex);
    ++profile_calls[request->path()];
    if (request->context_token() != "{}") token = request->context_token();  // that is the probe for control
    const auto it = profiles.find(request->path());
    const Profile profile = it == profiles.end() ? Profile{} : it->second;
    lock.unlock();
    if (profile.refusal != Refusal::none && profile.refusal != Refusal::silent)
      return status_of(profile.refusal);
    if (profile.refusal == Refusal::none) {
      api::DestinationProfile message;
      message.set_fully_qualified_name(profile.name);
      message.set_opaque_protocol(profile.opaque);
      if (!profile.endpoint_identity.empty()) {
        encode(request->path() + "=" + profile.endpoint_identity, *message.mutable_endpoint());
      }
      writer->Write(message);
    }
    return wait(context, nullptr, nullptr);
  }

  grpc::Status Get(grpc::ServerContext* context, const api::GetDestination* request,
                   grpc::ServerWriter<api::Update>* writer) override {
    std::unique_lock lock(mutex);
    ++get_calls[request->path()];
    const auto refused = refusals.find(request->path());
    if (refused != refusals.end() && refused->second != Refusal::silent) return status_of(refused->second);
    streams.push_back({request->path(), {}});
    const auto stream = std::prev(streams.end());
    if (endpoints.contains(request->path())) stream->updates.push_back(make_add(endpoints[request->path()]));
    lock.unlock();
    const auto status = wait(context, &*stream, writer);
    lock.lock();
    streams.erase(stream);
    return status;
  }

  grpc::Status wait(grpc::ServerContext* context, Stream* stream, grpc::ServerWriter<api::Update>* writer) {
    std::unique_lock lock(mutex);
    ++open;
    while (!stopping && !context->IsCancelled()) {
      if (stream && !stream->updates.empty()) {
        const auto update = stream->updates.front();
        stream->updates.pop_front();
        lock.unlock();
        writer->Write(update);
        lock.lock();
        continue;
      }
      changed.wait_for(lock, std::chrono::milliseconds(10));
    }
    --open;
    return {grpc::StatusCode::UNAVAILABLE, "shutting down"};
  }

  void send(const std::string& path, const api::Update& update) {
    const std::lock_guard lock(mutex);
    for (auto& stream : streams) {
      if (stream.path == path) stream.updates.push_back(update);
    }
    changed.notify_all();
  }

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  int open = 0;
  std::map<std::string, Profile> profiles;
  std::map<std::string, std::vector<std::string>> endpoints;
  std::map<std::string, Refusal> refusals;
  std::map<std::string, int> profile_calls, get_calls;
  std::list<Stream> streams;
  std::string token;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

ScriptedControl::ScriptedControl(int port, const Tls* tls) : impl_(std::make_unique<Impl>()) {
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (tls) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({tls->key_pem, tls->certificate_pem});
    credentials = grpc::SslServerCredentials(options);
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), credentials, &impl_->port);
  builder.RegisterService(impl_.get());
  impl_->server = builder.BuildAndStart();
}

ScriptedControl::~ScriptedControl() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  if (impl_->server) {
    impl_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    impl_->server->Wait();
  }
}

int ScriptedControl::port() const {
  return impl_->server ? impl_->port : 0;
}

void ScriptedControl::set_profile(const std::string& path, Profile profile) {
  const std::lock_guard lock(impl_->mutex);
  impl_->profiles[path] = std::move(profile);
}
void ScriptedControl::set_endpoints(const std::string& path, std::vector<std::string> endpoints) {
  const std::lock_guard lock(impl_->mutex);
  impl_->endpoints[path] = std::move(endpoints);
}
void ScriptedControl::refuse_get(const std::string& path, Refusal refusal) {
  const std::lock_guard lock(impl_->mutex);
  impl_->refusals[path] = refusal;
}
void ScriptedControl::send_add(const std::string& path, std::vector<std::string> endpoints) {
  impl_->send(path, make_add(endpoints));
}
void ScriptedControl::send_remove(const std::string& path, std::vector<std::string> endpoints) {
  api::Update update;
  for (const auto& each : endpoints)
    encode(SocketAddress::parse(each).value(), *update.mutable_remove()->add_addrs());
  impl_->send(path, update);
}
void ScriptedControl::send_no_endpoints(const std::string& path, bool exists) {
  api::Update update;
  update.mutable_no_endpoints()->set_exists(exists);
  impl_->send(path, update);
}
int ScriptedControl::profile_calls(const std::string& path) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->profile_calls[path];
}
int ScriptedControl::get_calls(const std::string& path) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->get_calls[path];
}
int ScriptedControl::open_streams() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->open;
}
std::string ScriptedControl::last_token() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->token;
}

}  // namespace heddle::test
