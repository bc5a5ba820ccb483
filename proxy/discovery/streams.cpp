// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/streams.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <condition_variable>
#include <mutex>

#include "api/linkerd/destination.grpc.pb.h"
#include "base/io/file.h"
#include "base/log.h"
#include "proxy/discovery/convert.h"

namespace heddle::proxy {
namespace {

namespace api = io::linkerd::proxy::destination;

StreamEnd classify(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::NOT_FOUND:
      return StreamEnd::not_found;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return StreamEnd::invalid;
    default:
      return StreamEnd::broken;
  }
}

// How many calls gRPC still has in its hands.
struct Active {
  std::mutex mutex;
  std::condition_variable changed;
  unsigned count = 0;
  void add(int n) {
    const std::lock_guard lock(mutex);
    count += static_cast<unsigned>(n);
    changed.notify_all();
  }
};

// One server-streaming call. gRPC calls the On... functions on its threads; everything is handed to the
// executor. Keeps itself alive until OnDone.
template <class Message, class Update>
class Reading final : public grpc::ClientReadReactor<Message>,
                      public std::enable_shared_from_this<Reading<Message, Update>> {
 public:
  Reading(std::shared_ptr<Executor> executor, std::shared_ptr<Active> active,
          std::function<void(Update)> update, Streams::Ended ended)
      : executor_(std::move(executor)),
        active_(std::move(active)),
        update_(std::move(update)),
        ended_(std::move(ended)) {}

  template <class Method>
  void start(const std::string& path, const std::string& token, Method method) {
    request_.set_scheme("k8s");
    request_.set_path(path);
    request_.set_context_token(token);
    context_.set_wait_for_ready(true);
    self_ = this->shared_from_this();
    active_->add(1);
    method(&context_, &request_, this);
    this->StartRead(&message_);
    this->StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    executor_->post([self = this->shared_from_this(), update = convert(message_)]() mutable {
      if (!self->cancelled_) self->update_(std::move(update));
    });
    this->StartRead(&message_);
  }

  void OnDone(const grpc::Status& status) override {
    executor_->post([self = this->shared_from_this(), end = classify(status), why = status.error_message()] {
      if (!self->cancelled_) self->ended_(end, why);
    });
    const auto active = active_;
    self_.reset();  // may be the last reference
    active->add(-1);
  }

  // On the executor (or after it stopped).
  void cancel() {
    cancelled_ = true;
    context_.TryCancel();
  }

 private:
  std::shared_ptr<Executor> executor_;
  std::shared_ptr<Active> active_;
  std::function<void(Update)> update_;
  Streams::Ended ended_;
  grpc::ClientContext context_;
  api::GetDestination request_;
  Message message_;
  bool cancelled_ = false;  // the executor's
  std::shared_ptr<Reading> self_;
};

template <class Message, class Update>
class Handle final : public Streams::Call {
 public:
  explicit Handle(std::shared_ptr<Reading<Message, Update>> reading) : reading_(std::move(reading)) {}
  ~Handle() override { reading_->cancel(); }

 private:
  std::shared_ptr<Reading<Message, Update>> reading_;
};

class GrpcStreams final : public Streams {
 public:
  GrpcStreams(const Discovery::Options& options, std::shared_ptr<Executor> executor)
      : options_(options), executor_(std::move(executor)) {}

  // So that no call outlives what gRPC tears down at the process' end; they are all cancelled by now.
  ~GrpcStreams() override {
    std::unique_lock lock(active_->mutex);
    active_->changed.wait_for(lock, std::chrono::seconds(2), [this] { return active_->count == 0; });
  }

  Result<> connect() {
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    grpc::ChannelArguments arguments;
    if (!options_.trust_anchors.empty()) {
      const auto when = modified();  // before the content: a change in between is seen again
      auto pem = read_file(options_.trust_anchors, 4 * 1024 * 1024);
      if (!pem) return pem.error();
      changed_ = when;
      grpc::SslCredentialsOptions ssl;
      ssl.pem_root_certs = *pem;
      credentials = grpc::SslCredentials(ssl);
      arguments.SetSslTargetNameOverride(options_.server_name);
    }
    // Fast reconnects: a restarted control is found within two seconds; control allows these pings.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, static_cast<int>(options_.min_backoff.count()));
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(16 * 1024 * 1024);
    channel_ = grpc::CreateCustomChannel(options_.address, credentials, arguments);
    stub_ = api::Destination::NewStub(channel_);
    return {};
  }

  std::unique_ptr<Call> profile(const std::string& path, const std::string& token,
                                std::function<void(ProfileUpdate)> update, Ended ended) override {
    using R = Reading<api::DestinationProfile, ProfileUpdate>;
    auto reading = std::make_shared<R>(executor_, active_, std::move(update), std::move(ended));
    reading->start(path, token, [this](auto* context, auto* request, auto* reactor) {
      stub_->async()->GetProfile(context, request, reactor);
    });
    return std::make_unique<Handle<api::DestinationProfile, ProfileUpdate>>(std::move(reading));
  }

  std::unique_ptr<Call> endpoints(const std::string& path, const std::string& token,
                                  std::function<void(EndpointsUpdate)> update, Ended ended) override {
    using R = Reading<api::Update, EndpointsUpdate>;
    auto reading = std::make_shared<R>(executor_, active_, std::move(update), std::move(ended));
    reading->start(path, token, [this](auto* context, auto* request, auto* reactor) {
      stub_->async()->Get(context, request, reactor);
    });
    return std::make_unique<Handle<api::Update, EndpointsUpdate>>(std::move(reading));
  }

  bool refresh() override {
    if (options_.trust_anchors.empty() || modified() == changed_) return false;
    if (auto connected_again = connect(); !connected_again) {
      spdlog::warn("discovery: trust anchors not reloaded, the old ones stay error=\"{}\"",
                   connected_again.error().message());
      return false;
    }
    spdlog::info("discovery: trust anchors reloaded file={}", options_.trust_anchors);
    return true;
  }

 private:
  // Nanoseconds; 0 when it cannot be read.
  std::int64_t modified() const {
    struct stat info{};
    if (::stat(options_.trust_anchors.c_str(), &info) != 0) return 0;
    return info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec;
  }

  const Discovery::Options options_;
  std::shared_ptr<Executor> executor_;
  std::shared_ptr<Active> active_ = std::make_shared<Active>();
  std::int64_t changed_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<api::Destination::Stub> stub_;
};

}  // namespace

Result<std::unique_ptr<Streams>> Streams::make(const Discovery::Options& options,
                                               std::shared_ptr<Executor> executor) {
  auto streams = std::make_unique<GrpcStreams>(options, std::move(executor));
  if (auto made = streams->connect(); !made) return made.error();
  return std::unique_ptr<Streams>(std::move(streams));
}

}  // namespace heddle::proxy
