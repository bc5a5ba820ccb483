// SPDX-License-Identifier: Apache-2.0
// heddle-control: answers proxies' questions about services (Destination), and agents' about certificates
// (Identity).
#include <signal.h>

#include <chrono>

#include "base/fd.h"
#include "base/log.h"
#include "control/admin/http.h"
#include "control/admin/metrics.h"
#include "control/certify/certifier.h"
#include "control/certify/issuer_secret.h"
#include "control/certify/reviewer.h"
#include "control/certify/store.h"
#include "control/discovery/messages.h"
#include "control/injector/injector.h"
#include "control/injector/taint_keeper.h"
#include "control/rpc/server.h"
#include "control/rpc/services.h"
#include "control/settings.h"
#include "control/source/annotations.h"
#include "control/source/kubernetes/caller.h"
#include "control/source/kubernetes/find_access.h"
#include "control/source/kubernetes/source.h"
#include "control/source/source.h"

namespace heddle::control {
namespace {

constexpr auto refresh_interval = std::chrono::seconds(1);

// Everything, in the order in which it is started; destroyed in reverse.
struct Control {
  Settings settings;
  MeshNames names;
  std::string own_identity;
  std::string refresh_failure;  // what was last told; empty: none
  std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
  std::atomic<bool> ready{false};
  RpcCounters counters;
  std::unique_ptr<source::kubernetes::Caller> caller;  // of a cluster
  std::unique_ptr<IssuerSecret> issuer_secret;
  ReviewCounters reviews;
  std::unique_ptr<Reviewer> reviewer;  // null: --node-tokens
  std::unique_ptr<AuthorityStore> authority;
  std::unique_ptr<Certifier> certifier;
  std::unique_ptr<EndpointTopics> endpoints;
  std::unique_ptr<ProfileTopics> profiles;
  IdentityParts identity_service;
  std::unique_ptr<TaintKeeper> taints;  // told by the source
  std::unique_ptr<source::Source> source;
  std::unique_ptr<Injector> injector;
  std::unique_ptr<AdminServer> admin;
  std::unique_ptr<RpcServer> destination;
  std::unique_ptr<RpcServer> identity;
};

void publish(Control& control, const std::shared_ptr<const source::Snapshot>& snapshot) {
  control.endpoints->publish(snapshot);
  control.profiles->publish(snapshot);
  control.identity_service.waiting->retry();
  if (control.taints) control.taints->look(snapshot);
}

std::string metrics_page(const Control& control) {
  return render_metrics({HEDDLE_VERSION, control.started, control.authority->current()->not_after(),
                         control.source->status(), control.endpoints->questions(),
                         control.profiles->questions(), control.counters, control.certifier->counters(),
                         control.injector ? &control.injector->counters() : nullptr,
                         control.taints ? &control.taints->counters() : nullptr,
                         control.reviewer ? &control.reviews : nullptr});
}

bool in_cluster(const Settings& s) {
  return s.source == "kubernetes";
}

Result<> open_cluster(Control& control) {
  const Settings& s = control.settings;
  if (!in_cluster(s)) {
    const char* given = !s.issuer_secret.empty()     ? "--issuer-secret"
                        : !s.webhook_address.empty() ? "--webhook-address"
                                                     : nullptr;
    if (given == nullptr) return {};
    return make_error(Errc::invalid_argument, std::string(given) + " needs --source kubernetes");
  }
  auto access = source::kubernetes::find_access(s.kubeconfig, s.context, s.insecure_skip_tls_verify);
  if (!access) return access.error();
  control.caller = std::make_unique<source::kubernetes::Caller>(std::move(*access));
  return {};
}

// False: a signal came first. An API server that is being upgraded too is waited for.
Result<bool> fetch_issuer(Control& control, const sigset_t& signals) {
  Settings& s = control.settings;
  if (s.issuer_secret.empty()) return true;
  if (!s.issuer_certificate.empty()) {
    return make_error(Errc::invalid_argument,
                      "give --issuer-secret or --identity-issuer-certificate, not both");
  }
  control.issuer_secret = std::make_unique<IssuerSecret>(
      *control.caller, IssuerSecretOptions{s.control_namespace, s.issuer_secret, s.trust_anchors_configmap,
                                           s.trust_domain, s.state_dir + "/issuer"});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  auto fetched = control.issuer_secret->fetch();
  while (!fetched && std::chrono::steady_clock::now() < deadline) {
    spdlog::warn("waiting for the issuer: {}", fetched.error().message());
    constexpr timespec pause{1, 0};
    if (::sigtimedwait(&signals, nullptr, &pause) > 0) return false;
    fetched = control.issuer_secret->fetch();
  }
  if (!fetched) return fetched.error();
  s.issuer_certificate = control.issuer_secret->certificate_path();
  s.issuer_key = control.issuer_secret->key_path();
  s.trust_anchors = control.issuer_secret->trust_anchors_path();
  control.issuer_secret->start();
  return true;
}

Result<> open_authority(Control& control) {
  const Settings& s = control.settings;
  auto store = AuthorityStore::open({s.state_dir,
                                     s.trust_domain,
                                     {s.issuance_lifetime, s.clock_skew_allowance},
                                     s.issuer_certificate,
                                     s.issuer_key,
                                     s.trust_anchors});
  if (!store) return store.error();
  control.authority = std::move(*store);
  control.own_identity =
      source::identity_name("heddle-control", s.control_namespace, s.control_namespace, s.trust_domain);
  control.certifier = std::make_unique<Certifier>(control.names, NodeTokens(s.node_tokens),
                                                  [&control] { return control.authority->current(); });
  return control.authority->refresh_server_leaf(control.own_identity);
}

Result<std::unique_ptr<source::Source>> make_source(const Settings& s) {
  if (!in_cluster(s)) return source::make_source(s.source);
  source::KubernetesOptions options;
  options.kubeconfig = s.kubeconfig;
  options.context = s.context;
  options.insecure_skip_tls_verify = s.insecure_skip_tls_verify;
  return source::make_kubernetes_source(options);
}

// Where there is an API server, it knows whose a token is.
Result<ReviewedTokens> start_reviewer(Control& control) {
  const Settings& s = control.settings;
  if (s.source != "kubernetes" || !s.node_tokens.empty()) return ReviewedTokens{};
  auto access = source::kubernetes::find_access(s.kubeconfig, s.context, s.insecure_skip_tls_verify);
  if (!access) return access.error();
  control.reviewer = std::make_unique<Reviewer>(std::move(*access), s.token_audience, control.reviews);
  return ReviewedTokens{
      [&control](const std::string& token, auto done) { control.reviewer->review(token, std::move(done)); },
      s.accept_pod_tokens, control.names};
}

Result<> start_source(Control& control) {
  auto source = make_source(control.settings);
  if (!source) return source.error();
  control.source = std::move(*source);
  control.endpoints =
      std::make_unique<EndpointTopics>(EndpointTraits{control.names}, control.source->current());
  control.profiles = std::make_unique<ProfileTopics>(ProfileTraits{control.names}, control.source->current());
  auto tokens = start_reviewer(control);
  if (!tokens) return tokens.error();
  control.identity_service =
      make_identity_service(*control.certifier, *control.source, control.counters, std::move(*tokens));
  return control.source->start([&control](const auto& snapshot) { publish(control, snapshot); });
}

Result<> start_injector(Control& control) {
  const Settings& s = control.settings;
  if (s.webhook_address.empty()) return {};
  auto injector = Injector::start(
      {s.webhook_address, {s.control_namespace, nullptr}, {s.control_namespace, s.webhook_tls_secret}},
      *control.caller, [&control] { return control.source->current(); });
  if (!injector) return injector.error();
  control.injector = std::move(*injector);
  spdlog::info("serving the injector port={}", control.injector->port());
  return {};
}

Result<> start_admin(Control& control) {
  auto admin = AdminServer::start(
      control.settings.admin_address,
      {[&control] { return metrics_page(control); }, [&control] { return control.ready.load(); }});
  if (!admin) return admin.error();
  control.admin = std::move(*admin);
  return {};
}

// Answers given before all objects are known would be wrong: nothing is served until then. False: a signal
// came first.
bool wait_for_objects(Control& control, const sigset_t& signals) {
  constexpr timespec interval{0, 10'000'000};
  while (!control.source->status().synced) {
    if (const int signal = ::sigtimedwait(&signals, nullptr, &interval); signal > 0) {
      spdlog::info("stopping before all objects were read signal={}", signal);
      return false;
    }
  }
  publish(control, control.source->current());  // a folder's first one is not announced
  return true;
}

Result<> start_servers(Control& control) {
  const Settings& s = control.settings;
  const auto serve = [&control](const std::string& address, std::shared_ptr<grpc::Service> service) {
    return RpcServer::start(
        {address, control.authority->server_certificate_path(), control.authority->server_key_path()},
        std::move(service));
  };
  auto destination = serve(
      s.destination_address,
      make_destination_service(s.cluster_domain, *control.endpoints, *control.profiles, control.counters));
  if (!destination) return destination.error();
  control.destination = std::move(*destination);
  auto identity = serve(s.identity_address, control.identity_service.service);
  if (!identity) return identity.error();
  control.identity = std::move(*identity);
  return {};
}

// False: a signal came before everything was served.
Result<bool> start(Control& control, const sigset_t& signals) {
  if (auto done = open_cluster(control); !done) return done.error();
  const auto fetched = fetch_issuer(control, signals);
  if (!fetched) return fetched.error();
  if (!*fetched) return false;
  if (auto done = open_authority(control); !done) return done.error();
  if (control.caller) {
    control.taints = std::make_unique<TaintKeeper>(*control.caller, control.settings.control_namespace);
  }
  if (auto done = start_source(control); !done) return done.error();
  if (auto done = start_injector(control); !done) return done.error();
  if (auto done = start_admin(control); !done) return done.error();
  if (!wait_for_objects(control, signals)) return false;
  if (auto done = start_servers(control); !done) return done.error();
  if (control.reviewer == nullptr && control.settings.node_tokens.empty()) {
    spdlog::warn("no --node-tokens: every certificate request will be refused");
  }
  control.ready = true;
  spdlog::info("serving identity_port={} destination_port={} admin_port={} objects={} trust_anchors={}",
               control.identity->port(), control.destination->port(), control.admin->port(),
               control.source->status().objects, control.authority->trust_anchors_path());
  return true;
}

// Tried every second, told of once: a failure that lasts must not fill the log.
void refresh_certificates(Control& control) {
  std::string failure;
  for (const auto& done :
       {control.authority->refresh(), control.authority->refresh_server_leaf(control.own_identity)}) {
    if (!done) failure += (failure.empty() ? "" : "; ") + done.error().message();
  }
  if (failure == control.refresh_failure) return;
  if (failure.empty()) {
    spdlog::info("certificates are renewed again");
  } else {
    spdlog::error("certificates were not renewed, the old ones stay in use: {}", failure);
  }
  control.refresh_failure = std::move(failure);
}

// Until SIGTERM or SIGINT, which main() has blocked.
void wait_for_signal(Control& control, const sigset_t& signals) {
  const timespec interval{refresh_interval.count(), 0};
  while (true) {
    const int signal = ::sigtimedwait(&signals, nullptr, &interval);
    if (signal > 0) {
      spdlog::info("stopping signal={}", signal);
      return;
    }
    control.identity_service.waiting->expire(false);
    refresh_certificates(control);
  }
}

// Streams are told first, so that clients go elsewhere at once instead of being cut off at the deadline.
void stop(Control& control) {
  control.ready = false;
  control.endpoints->end();
  control.profiles->end();
  control.identity_service.waiting->expire(true);
  const auto deadline = std::chrono::system_clock::now() + control.settings.shutdown_grace;
  control.identity->stop(deadline);
  control.destination->stop(deadline);
  spdlog::info("stopped");
}

int run(int argc, char** argv) {
  CommandLine command_line = read_command_line(argc, argv);
  if (command_line.exit_code >= 0) return command_line.exit_code;
  Control control;
  control.settings = std::move(command_line.settings);
  const Settings& s = control.settings;
  if (const auto logging = start_logging({"control", s.log_level, s.log_format}); !logging) {
    fprintf(stderr, "heddle-control: %s\n", logging.error().message().c_str());
    return 2;
  }
  control.names = {s.trust_domain, s.cluster_domain, s.control_namespace};
  send_grpc_log_to_ours();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread started below
  ::signal(SIGPIPE, SIG_IGN);
  (void)raise_fd_limit().has_value();  // fewer streams than hoped for is better than none
  const auto started = start(control, signals);
  if (!started) {
    spdlog::error("cannot start: {}", started.error().message());
    return 1;
  }
  if (!*started) return 0;
  wait_for_signal(control, signals);
  stop(control);
  return 0;
}

}  // namespace
}  // namespace heddle::control

int main(int argc, char** argv) {
  return heddle::control::run(argc, argv);
}
