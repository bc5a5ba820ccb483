// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/source.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>
#include <thread>

#include "control/source/kubernetes/complaints.h"
#include "control/source/kubernetes/find_access.h"
#include "control/source/kubernetes/store.h"

namespace heddle::source {
namespace {

namespace asio = boost::asio;
using kubernetes::Answer;
using kubernetes::Client;
using kubernetes::Connections;
using kubernetes::ListWatch;
using kubernetes::Resource;
using kubernetes::WatchEvent;
using Clock = std::chrono::steady_clock;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);

// Servers and balancers end what is idle; a request on such a connection would look like an outage.
constexpr std::chrono::seconds longest_idle{1};

// A page of a list may be as large as the client takes.
Limits page_limits() {
  Limits limits;
  limits.bytes = Client::body_limit;
  limits.nodes = 8'000'000;
  return limits;
}

// One kind of object: how far it is known, and what of it.
struct Collection {
  Resource resource;
  bool discovered = true;   // false: which resource it is must be asked first
  bool may_change = false;  // another resource may have to be found for it
  std::optional<ListWatch> machine;
  kubernetes::Store store;
  bool synced = false;
  bool healthy = false;  // being watched
};

class KubernetesSource : public Source {
 public:
  KubernetesSource(kubernetes::Access access, KubernetesOptions options)
      : access_(std::move(access)), options_(std::move(options)), seed_(std::random_device{}()) {}
  ~KubernetesSource() override {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Result<> start(Listener on_change) override;
  std::shared_ptr<const Snapshot> current() const override {
    const std::lock_guard lock(mutex_);
    return current_;
  }
  Status status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  void add(Resource resource, bool needs_discovery);
  void begin_machine(Collection& collection);
  asio::awaitable<void> follow(Collection& collection, std::shared_ptr<Connections> connections);
  asio::awaitable<void> discover(Collection& collection, Client& client);
  asio::awaitable<void> list_page(Collection& collection, Client& client, const ListWatch::Step& step);
  asio::awaitable<void> watch(Collection& collection, Client& client, const ListWatch::Step& step);
  asio::awaitable<void> pause(std::chrono::milliseconds time);
  void take_page(Collection& collection, const ListWatch::Step& step, const Answer& answer);
  void take_event(Collection& collection, WatchEvent event);
  void put(Collection& collection, Value object);
  void on_refused(Collection& collection, const std::string& path, const Answer& answer);
  void on_synced(Collection& collection);
  void fail(Collection& collection, const std::string& why);
  void heal(Collection& collection);
  void heard();
  void changed();
  void publish();

  const kubernetes::Access access_;
  const KubernetesOptions options_;
  std::uint64_t seed_;
  Listener on_change_;
  std::thread thread_;

  // The thread's own.
  std::vector<std::unique_ptr<Collection>> collections_;
  kubernetes::Complaints complaints_;
  bool synced_ = false;
  bool publishing_ = false;  // the timer runs
  Clock::time_point published_{};
  std::uint64_t errors_ = 0;

  mutable std::mutex mutex_;
  std::shared_ptr<const Snapshot> current_ = std::make_shared<const Snapshot>(Objects{}, 0);
  Status status_;

  // Last: destroying it destroys what runs in it, which uses the rest.
  asio::io_context context_{1};
  asio::steady_timer publish_timer_{context_};
};

void KubernetesSource::add(Resource resource, bool needs_discovery) {
  auto collection = std::make_unique<Collection>();
  collection->resource = std::move(resource);
  collection->discovered = !needs_discovery;
  collection->may_change = needs_discovery;
  if (!needs_discovery) begin_machine(*collection);
  collections_.push_back(std::move(collection));
}

void KubernetesSource::begin_machine(Collection& collection) {
  collection.machine.emplace(collection.resource.path, options_.policy, ++seed_);
}

Result<> KubernetesSource::start(Listener on_change) {
  on_change_ = std::move(on_change);
  add({"/api/v1/namespaces", "Namespace", "v1"}, false);
  if (options_.node_name.empty()) {
    add({"/api/v1/nodes", "Node", "v1"}, false);
    add({"/api/v1/pods", "Pod", "v1"}, false);
    add({"/api/v1/services", "Service", "v1"}, false);
    add({}, true);
  } else {
    add({"/api/v1/pods?fieldSelector=spec.nodeName%3D" + options_.node_name, "Pod", "v1"}, false);
  }
  // Lives as long as one of those that use it: until the context goes.
  const auto connections = std::make_shared<Connections>(context_, access_, options_.timeouts);
  for (const auto& collection : collections_) {
    asio::co_spawn(context_, follow(*collection, connections), asio::detached);
  }
  thread_ = std::thread([this] { context_.run(); });
  return {};
}

asio::awaitable<void> KubernetesSource::follow(Collection& collection,
                                               std::shared_ptr<Connections> connections) {
  Client client(std::move(connections));
  while (true) {
    if (!collection.discovered) co_await discover(collection, client);
    const ListWatch::Step step = collection.machine->next();
    if (step.wait >= longest_idle) client.disconnect();
    if (step.wait.count() > 0) co_await pause(step.wait);
    if (step.watch) {
      co_await watch(collection, client, step);
    } else {
      co_await list_page(collection, client, step);
    }
  }
}

asio::awaitable<void> KubernetesSource::pause(std::chrono::milliseconds time) {
  asio::steady_timer timer(context_, time);
  co_await timer.async_wait(awaited);
}

asio::awaitable<void> KubernetesSource::discover(Collection& collection, Client& client) {
  kubernetes::Discovery discovery;
  Backoff backoff(options_.policy.backoff, ++seed_ * 0x9e3779b97f4a7c15U);
  while (!discovery.found()) {
    const auto answer = co_await client.get(discovery.next());
    Result<> taken;
    if (answer) {
      heard();
      taken = discovery.on_answer(answer->status, answer->body);
    } else {
      taken = answer.error();
    }
    if (taken) {
      backoff.reset();
      continue;
    }
    fail(collection, taken.error().message());
    const auto wait = backoff.next();
    co_await pause(wait);
  }
  spdlog::info("endpoints of services are read from {}", discovery.found()->path);
  collection.resource = *discovery.found();
  collection.discovered = true;
  begin_machine(collection);
}

asio::awaitable<void> KubernetesSource::list_page(Collection& collection, Client& client,
                                                  const ListWatch::Step& step) {
  const auto answer = co_await client.get(step.target);
  if (!answer) {
    fail(collection, answer.error().message());
    if (answer.error().code == Errc::exhausted) {
      collection.machine->on_page_too_large();
    } else if (answer.error().code == Errc::protocol) {
      collection.machine->on_nonsense();
    } else {
      collection.machine->on_lost();
    }
    co_return;
  }
  heard();
  if (answer->status == 200) {
    take_page(collection, step, *answer);
  } else {
    on_refused(collection, collection.resource.path, *answer);
  }
}

void KubernetesSource::take_page(Collection& collection, const ListWatch::Step& step, const Answer& answer) {
  auto values = read_json(answer.body, page_limits());
  if (!values || values->size() != 1 || kubernetes::resource_version_of(values->front()).empty()) {
    fail(collection, "GET " + collection.resource.path + ": the answer is not a list of objects" +
                         (values ? "" : " (" + values.error().detail + ")"));
    return collection.machine->on_nonsense();
  }
  Value& list = values->front();
  if (step.first_page) collection.store.begin_list();
  for (auto& [key, value] : list.fields) {
    if (key != "items") continue;
    for (Value& item : value.items) put(collection, std::move(item));
  }
  if (!collection.machine->on_page(kubernetes::resource_version_of(list), kubernetes::continue_of(list)))
    return;
  if (collection.store.end_list()) changed();
  on_synced(collection);
}

asio::awaitable<void> KubernetesSource::watch(Collection& collection, Client& client,
                                              const ListWatch::Step& step) {
  kubernetes::WatchDecoder decoder(options_.line_limit);
  std::optional<int> error_code;
  bool begun = false;
  const auto visit = [&](WatchEvent event) {
    if (error_code) return;
    if (event.type != WatchEvent::Type::error) return take_event(collection, std::move(event));
    error_code = kubernetes::code_of(event.object);
    spdlog::debug("a watch ended with an error path={} code={} message=\"{}\"", collection.resource.path,
                  *error_code, kubernetes::message_of(event.object));
  };
  const Client::Sink sink = [&](std::string_view bytes) -> Result<> {
    heard();
    if (bytes.empty()) heal(collection);
    begun = true;
    auto fed = decoder.feed(bytes, visit);
    if (fed && error_code) return make_error(Errc::closed, "ended by an ERROR event");
    return fed;
  };
  const auto answer = co_await client.watch(step.target, sink);
  if (error_code) {
    if (*error_code != 410) {
      fail(collection, "watching " + collection.resource.path + " ended with an ERROR event of code " +
                           std::to_string(*error_code));
    }
    collection.machine->on_error_event();
  } else if (answer && answer->status == 200) {
    collection.machine->on_watch_end();
  } else if (answer) {
    on_refused(collection, collection.resource.path, *answer);
  } else if (answer.error().code == Errc::protocol || answer.error().code == Errc::exhausted) {
    fail(collection, "watching " + collection.resource.path + ": " + answer.error().message());
    collection.machine->on_nonsense();
  } else {
    // Balancers on the way cut what is idle; it is a failure when the next one cannot begin.
    if (!begun) fail(collection, answer.error().message());
    collection.machine->on_lost();
  }
}

void KubernetesSource::take_event(Collection& collection, WatchEvent event) {
  collection.machine->on_event(kubernetes::resource_version_of(event.object));
  if (event.type == WatchEvent::Type::bookmark) return;
  if (event.type != WatchEvent::Type::deleted) return put(collection, std::move(event.object));
  if (collection.store.remove(event.object)) changed();
}

void KubernetesSource::put(Collection& collection, Value object) {
  const auto done = collection.store.put(collection.resource, std::move(object));
  if (done) {
    if (*done) changed();
    return;
  }
  ++errors_;
  changed();  // the number of broken objects
  if (complaints_.is_news(done.error().detail, Clock::now())) {
    spdlog::error("cannot use an object of the API server, its last good version stays in use: {}",
                  done.error().detail);
  }
}

void KubernetesSource::on_refused(Collection& collection, const std::string& path, const Answer& answer) {
  const bool expired = answer.status == 410;
  if (!expired) {
    std::string why = "GET " + path + ": status " + std::to_string(answer.status);
    const auto values = read_json(answer.body);
    if (values && values->size() == 1) why += ": " + kubernetes::message_of(values->front());
    if (answer.status == 401) why += "; the token or client certificate is not valid here";
    if (answer.status == 403) why += "; allow list and watch of it (see docs/control.md)";
    fail(collection, why);
  }
  collection.machine->on_status(answer.status, answer.retry_after);
  // The cluster was upgraded, and keeps endpoints elsewhere now.
  if (answer.status == 404 && collection.may_change) collection.discovered = false;
}

void KubernetesSource::on_synced(Collection& collection) {
  collection.synced = true;
  if (synced_) return;
  for (const auto& each : collections_) {
    if (!each->synced) return;
  }
  synced_ = true;
  publish();
}

void KubernetesSource::fail(Collection& collection, const std::string& why) {
  collection.healthy = false;
  ++errors_;
  {
    const std::lock_guard lock(mutex_);
    status_.connected = false;
    status_.errors = errors_;
  }
  if (complaints_.is_news(why, Clock::now())) {
    spdlog::error("Kubernetes' objects are not up to date, what is known stays in use: {}", why);
  }
}

void KubernetesSource::heal(Collection& collection) {
  if (collection.healthy) return;
  collection.healthy = true;
  for (const auto& each : collections_) {
    if (!each->healthy) return;
  }
  {
    const std::lock_guard lock(mutex_);
    status_.connected = true;
  }
  if (complaints_.settle()) spdlog::info("Kubernetes' objects are up to date again");
}

void KubernetesSource::heard() {
  const std::lock_guard lock(mutex_);
  status_.last_heard = Clock::now();
}

// Changes of a rollout come in bursts: they are told of together.
void KubernetesSource::changed() {
  if (!synced_ || publishing_) return;
  publishing_ = true;
  publish_timer_.expires_at(
      std::max(Clock::now() + options_.publish_delay, published_ + options_.publish_interval));
  publish_timer_.async_wait([this](const boost::system::error_code& error) {
    publishing_ = false;
    if (!error) publish();
  });
}

void KubernetesSource::publish() {
  Objects objects;
  std::size_t broken = 0;
  for (const auto& collection : collections_) {
    collection->store.append_to(objects);
    broken += collection->store.broken();
  }
  std::shared_ptr<const Snapshot> next;
  {
    const std::lock_guard lock(mutex_);
    ++status_.version;
    status_.objects = objects.size();
    status_.broken_files = broken;
    status_.errors = errors_;
    next = std::make_shared<const Snapshot>(std::move(objects), status_.version);
    current_ = next;
    status_.synced = true;
  }
  published_ = Clock::now();
  if (on_change_) on_change_(next);
}

}  // namespace

Result<std::unique_ptr<Source>> make_kubernetes_source(const KubernetesOptions& options) {
  auto access =
      kubernetes::find_access(options.kubeconfig, options.context, options.insecure_skip_tls_verify);
  if (!access) return access.error();
  spdlog::info("reading Kubernetes' objects api_server={}:{}", access->host, access->port);
  if (access->skip_verification) {
    spdlog::warn("the API server's certificate is not verified: anybody on the way can pose as it");
  }
  return std::unique_ptr<Source>(std::make_unique<KubernetesSource>(std::move(*access), options));
}

}  // namespace heddle::source
