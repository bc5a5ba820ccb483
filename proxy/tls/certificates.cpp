// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/certificates.h"

#include <pthread.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/backoff.h"
#include "base/io/file.h"
#include "base/log.h"
#include "proxy/io/loop.h"
#include "proxy/tls/context.h"
#include "proxy/tls/endpoint.h"

namespace heddle::proxy::tls {

std::chrono::milliseconds renew_after(std::chrono::system_clock::time_point now,
                                      std::chrono::system_clock::time_point valid_until,
                                      std::chrono::milliseconds at_least) {
  const auto life = std::chrono::duration_cast<std::chrono::milliseconds>(valid_until - now);
  const auto at = life * 7 / 10;
  return std::clamp<std::chrono::milliseconds>(at, at_least, std::chrono::hours(24));
}

namespace {

using Steady = std::chrono::steady_clock;
using System = std::chrono::system_clock;

struct Answer {
  std::string identity;
  std::string leaf;
  std::vector<std::string> intermediates;
  std::uint64_t valid_until = 0;
  std::string error;
};

struct Identity {
  explicit Identity(Backoff::Policy policy, std::uint64_t seed) : backoff(policy, seed) {}
  std::set<std::uint32_t> pods;
  Key key;
  std::string csr;
  ContextRef context;
  // What the context was made of, to make another when the trust anchors change.
  std::string leaf;
  std::vector<std::string> intermediates;
  Steady::time_point act_at{};     // when to ask, or to ask again
  Steady::time_point forget_at{};  // without pods: when to forget it
  Backoff backoff;
  bool answered = false;
  std::string last_error;
  std::shared_ptr<Cell> expires, refreshed, refreshes;
};

struct Subscriber {
  Loop* loop;
  std::weak_ptr<WorkerTls> worker;
};

class Store final : public CertificateStore {
 public:
  Store(Options options, CertifyRequester& requester, std::unique_ptr<Telemetry> telemetry)
      : options_(std::move(options)), requester_(requester), telemetry_(std::move(telemetry)) {}

  ~Store() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  Result<> begin() {
    if (auto loaded = load_anchors(); !loaded) return loaded;
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void pod_added(const Pod& pod) override {
    const std::lock_guard lock(mutex_);
    auto it = identities_.find(pod.identity);
    if (it == identities_.end()) {
      const Backoff::Policy policy{options_.min_backoff, options_.max_backoff, 0.25};
      it = identities_.try_emplace(pod.identity, policy, std::hash<std::string>{}(pod.identity)).first;
      it->second.act_at = Steady::now();
      wake_.notify_one();
    }
    it->second.pods.insert(pod.id);
    if (it->second.act_at <= Steady::now()) wake_.notify_one();  // fell due while it had no pod
  }

  void pod_removed(const Pod& pod) override {
    const std::lock_guard lock(mutex_);
    const auto it = identities_.find(pod.identity);
    if (it == identities_.end() || it->second.pods.erase(pod.id) == 0 || !it->second.pods.empty()) return;
    it->second.forget_at = Steady::now() + options_.keep_unused;
    wake_.notify_one();
  }

  void on_certificate(std::string identity, std::string leaf, std::vector<std::string> intermediates,
                      std::uint64_t valid_until, std::string error) override {
    const std::lock_guard lock(mutex_);
    if (answers_.size() >= 10'000) return;  // asked again when its time-out has passed
    answers_.push_back(
        {std::move(identity), std::move(leaf), std::move(intermediates), valid_until, std::move(error)});
    wake_.notify_one();
  }

  void link_up() override {
    const std::lock_guard lock(mutex_);
    for (auto& [name, identity] : identities_) {
      if (identity.context && identity.act_at > Steady::now() + options_.answer_timeout) continue;
      identity.act_at = Steady::now();
      identity.backoff.reset();
    }
    wake_.notify_one();
  }

  void when_answered(std::function<void()> then) override {
    const std::lock_guard lock(mutex_);
    then_ = std::move(then);
    wake_.notify_one();
  }

  std::unique_ptr<Endpoint> make_endpoint(Loop& loop) override {
    auto worker = std::make_shared<WorkerTls>(loop, options_.max_handshakes_per_pod);
    const std::lock_guard lock(mutex_);
    for (const auto& [name, identity] : identities_) {
      if (identity.context) worker->contexts.emplace(name, identity.context);
    }
    subscribers_.push_back({&loop, worker});
    return tls::make_endpoint(worker, [this, gone = worker.get()] {
      const std::lock_guard relock(mutex_);
      std::erase_if(subscribers_, [&](const Subscriber& s) {
        const auto each = s.worker.lock();
        return !each || each.get() == gone;
      });
    });
  }

  std::string state_json() const override;

 private:
  void run();
  Steady::time_point next_time() const;
  void take(Answer answer);
  void fail(const std::string& name, Identity& identity, const std::string& why);
  std::vector<std::string> due(Steady::time_point now);
  bool all_answered() const;
  void tell_answered(std::unique_lock<std::mutex>& lock);
  void forget_unused(Steady::time_point now);
  void ask(std::unique_lock<std::mutex>& lock, const std::string& name);
  Result<> load_anchors();
  void reload_anchors();
  void publish(const std::string& name, const ContextRef& context);
  void count(const std::string& name, Identity& identity);

  const Options options_;
  CertifyRequester& requester_;
  const std::unique_ptr<Telemetry> telemetry_;

  mutable std::mutex mutex_;  // everything below
  std::condition_variable wake_;
  bool stop_ = false;
  std::map<std::string, Identity> identities_;
  std::vector<Answer> answers_;
  std::function<void()> then_;  // of when_answered()
  std::vector<Subscriber> subscribers_;
  TrustAnchors anchors_;
  timespec anchors_changed_{};
  Steady::time_point anchors_checked_{};
  std::thread thread_;
};

constexpr auto anchors_interval = std::chrono::seconds(30);

Result<> Store::load_anchors() {
  struct stat info{};
  if (::stat(options_.trust_anchors.c_str(), &info) != 0) {
    return make_errno(errno, "trust anchors " + options_.trust_anchors);
  }
  auto pem = read_file(options_.trust_anchors, 4 * 1024 * 1024);
  if (!pem) return pem.error();
  auto parsed = parse_trust_anchors(*pem, options_.trust_anchors);
  if (!parsed) return parsed.error();
  anchors_ = std::move(*parsed);
  anchors_changed_ = info.st_mtim;
  anchors_checked_ = Steady::now();
  return {};
}

// A new bundle (a root being rotated in) counts for new connections at once; a broken one changes nothing.
void Store::reload_anchors() {
  if (Steady::now() < anchors_checked_ + anchors_interval) return;
  anchors_checked_ = Steady::now();
  struct stat info{};
  if (::stat(options_.trust_anchors.c_str(), &info) != 0) return;
  if (info.st_mtim.tv_sec == anchors_changed_.tv_sec && info.st_mtim.tv_nsec == anchors_changed_.tv_nsec)
    return;
  anchors_changed_ = info.st_mtim;
  if (auto loaded = load_anchors(); !loaded) {
    spdlog::warn("trust anchors not reloaded, the old ones stay error=\"{}\"", loaded.error().message());
    return;
  }
  spdlog::info("trust anchors reloaded file={}", options_.trust_anchors);
  for (auto& [name, identity] : identities_) {
    if (!identity.context) continue;
    auto context = make_context(name, identity.key, identity.leaf, identity.intermediates, anchors_);
    if (!context) continue;
    identity.context = *context;
    publish(name, identity.context);
  }
}

void Store::publish(const std::string& name, const ContextRef& context) {
  for (const auto& subscriber : subscribers_) {
    subscriber.loop->post([to = subscriber.worker, name, context] {
      const auto worker = to.lock();
      if (!worker) return;
      if (context) {
        worker->contexts[name] = context;
      } else {
        worker->contexts.erase(name);
      }
    });
  }
}

void Store::run() {
  pthread_setname_np(pthread_self(), "certificates");
  std::unique_lock lock(mutex_);
  while (!stop_) {
    std::vector<Answer> answers;
    answers.swap(answers_);
    for (auto& answer : answers) take(std::move(answer));
    tell_answered(lock);
    reload_anchors();
    forget_unused(Steady::now());
    for (const auto& name : due(Steady::now())) ask(lock, name);
    if (stop_ || !answers_.empty() || (then_ && all_answered())) continue;
    wake_.wait_until(lock, next_time());
  }
}

Steady::time_point Store::next_time() const {
  auto next = anchors_checked_ + anchors_interval;
  for (const auto& [name, identity] : identities_) {
    next = std::min(next, identity.pods.empty() ? identity.forget_at : identity.act_at);
  }
  return next;
}

bool Store::all_answered() const {
  return std::all_of(identities_.begin(), identities_.end(),
                     [](const auto& entry) { return entry.second.answered || entry.second.pods.empty(); });
}

void Store::tell_answered(std::unique_lock<std::mutex>& lock) {
  if (!then_ || !all_answered()) return;
  const auto then = std::exchange(then_, nullptr);
  lock.unlock();
  then();
  lock.lock();
}

void Store::forget_unused(Steady::time_point now) {
  std::erase_if(identities_, [&](const auto& entry) {
    const auto& [name, identity] = entry;
    if (!identity.pods.empty() || now < identity.forget_at) return false;
    publish(name, nullptr);
    return true;
  });
}

std::vector<std::string> Store::due(Steady::time_point now) {
  std::vector<std::string> names;
  for (const auto& [name, identity] : identities_) {
    if (!identity.pods.empty() && identity.act_at <= now) names.push_back(name);
  }
  return names;
}

// Without the lock while a key is made or the link is called: pods come and go meanwhile.
void Store::ask(std::unique_lock<std::mutex>& lock, const std::string& name) {
  auto it = identities_.find(name);
  if (it == identities_.end()) return;
  Key key = it->second.key;
  std::string csr = it->second.csr;
  lock.unlock();
  std::string why;
  if (!key) {
    if (auto made = make_key())
      key = *made;
    else
      why = made.error().message();
    if (key) {
      if (auto request = make_request(key, name))
        csr = *request;
      else
        why = request.error().message();
    }
  }
  lock.lock();
  it = identities_.find(name);
  if (it == identities_.end() || it->second.pods.empty()) return;
  if (!why.empty()) return fail(name, it->second, why);
  it->second.key = key;
  it->second.csr = csr;
  // Asked again if no answer comes; each silence lengthens the wait.
  it->second.act_at = Steady::now() + options_.answer_timeout + it->second.backoff.next();
  const std::uint32_t pod = *it->second.pods.begin();
  lock.unlock();
  requester_.request(name, pod, csr);
  lock.lock();
}

void Store::take(Answer answer) {
  const auto it = identities_.find(answer.identity);
  if (it == identities_.end() || !it->second.key) return;  // its last pod has gone meanwhile
  auto& identity = it->second;
  if (!answer.error.empty()) return fail(answer.identity, identity, answer.error);
  auto context = make_context(answer.identity, identity.key, answer.leaf, answer.intermediates, anchors_);
  if (!context) return fail(answer.identity, identity, context.error().message());
  const auto now = System::now();
  if ((*context)->valid_until <= now)
    return fail(answer.identity, identity, "it has already expired: check the clocks");
  auto valid_until = (*context)->valid_until;
  if (answer.valid_until != 0) {
    valid_until = std::min(valid_until, System::from_time_t(static_cast<time_t>(answer.valid_until)));
  }
  const bool renewed = identity.context != nullptr;
  identity.context = *context;
  identity.leaf = std::move(answer.leaf);
  identity.intermediates = std::move(answer.intermediates);
  identity.backoff.reset();
  identity.answered = true;
  identity.last_error.clear();
  identity.act_at = Steady::now() + renew_after(now, valid_until, options_.min_renewal);
  publish(answer.identity, identity.context);
  count(answer.identity, identity);
  spdlog::info("certificate {} identity={} valid_s={}", renewed ? "renewed" : "issued", answer.identity,
               std::chrono::duration_cast<std::chrono::seconds>(valid_until - now).count());
}

void Store::fail(const std::string& name, Identity& identity, const std::string& why) {
  const auto wait = identity.backoff.next();
  identity.answered = true;
  identity.act_at = Steady::now() + wait;
  if (identity.last_error == why) return;  // said already
  identity.last_error = why;
  const bool valid = identity.context && identity.context->valid_until > System::now();
  spdlog::warn(
      "no new certificate identity={} old_one={} retry_ms={} error=\"{}\" next_step=\"see heddle-agent's and "
      "heddle-control's logs\"",
      name, valid ? "still-valid" : "none", wait.count(), why);
}

void Store::count(const std::string& name, Identity& identity) {
  if (!telemetry_) return;
  const auto unix_s = [](System::time_point t) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count());
  };
  if (!identity.expires) {
    const Labels labels = render_label("identity", name);
    identity.expires = telemetry_->gauge("identity_cert_expiration_timestamp_seconds",
                                         "When the certificate ends, in Unix seconds", labels);
    identity.refreshed = telemetry_->gauge("identity_cert_refresh_timestamp_seconds",
                                           "When the certificate was issued, in Unix seconds", labels);
    identity.refreshes = telemetry_->counter("identity_cert_refreshes_total", "Certificates issued", labels);
  }
  identity.expires->set(unix_s(identity.context->valid_until));
  identity.refreshed->set(unix_s(System::now()));
  identity.refreshes->add(1);
}

void quote_into(std::string& out, const std::string& text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  out.push_back('"');
}

std::string Store::state_json() const {
  const std::lock_guard lock(mutex_);
  std::string out = "[";
  for (const auto& [name, identity] : identities_) {
    if (out.size() > 1) out.push_back(',');
    const bool valid = identity.context && identity.context->valid_until > System::now();
    out.append("{\"identity\":");
    quote_into(out, name);
    out.append(",\"pods\":").append(std::to_string(identity.pods.size()));
    out.append(",\"state\":").append(valid ? "\"valid\"" : identity.context ? "\"expired\"" : "\"waiting\"");
    if (identity.context) {
      out.append(",\"valid_until_unix\":")
          .append(std::to_string(System::to_time_t(identity.context->valid_until)));
    }
    if (!identity.last_error.empty()) {
      out.append(",\"error\":");
      quote_into(out, identity.last_error);
    }
    out.push_back('}');
  }
  return out + "]";
}

}  // namespace

Result<std::unique_ptr<CertificateStore>> CertificateStore::open(Options options, CertifyRequester& requester,
                                                                 std::unique_ptr<Telemetry> telemetry) {
  auto store = std::make_unique<Store>(std::move(options), requester, std::move(telemetry));
  if (auto begun = store->begin(); !begun) return begun.error();
  return std::unique_ptr<CertificateStore>(std::move(store));
}

}  // namespace heddle::proxy::tls
