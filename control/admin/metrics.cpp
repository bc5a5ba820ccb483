// SPDX-License-Identifier: Apache-2.0
#include "control/admin/metrics.h"

#include <spdlog/fmt/fmt.h>

namespace heddle::control {
namespace {

class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Number>
  void sample(std::string_view labels, Number value) {
    text_ += fmt::format("{}{} {}\n", name_, labels, value);
  }
  template <class Number>
  void sample_of(std::string_view suffix, std::string_view labels, Number value) {
    text_ += fmt::format("{}{}{} {}\n", name_, suffix, labels, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::string_view name_;
};

template <class Read>
void per_rpc(Page& page, const RpcCounters& rpc, Read read) {
  page.sample("{rpc=\"Get\"}", read(rpc.get));
  page.sample("{rpc=\"GetProfile\"}", read(rpc.get_profile));
}

void add_destination(Page& page, const MetricsInput& input) {
  page.family("heddle_control_streams", "gauge", "Open discovery streams.");
  per_rpc(page, input.rpc, [](const StreamCounters& c) { return c.open.load(); });
  page.family("heddle_control_streams_total", "counter", "Discovery streams asked for.");
  per_rpc(page, input.rpc, [](const StreamCounters& c) { return c.opened.load(); });
  page.family("heddle_control_streams_refused_total", "counter",
              "Streams for a bad path or an unknown service.");
  per_rpc(page, input.rpc, [](const StreamCounters& c) { return c.refused.load(); });
  page.family("heddle_control_streams_aborted_total", "counter",
              "Streams cut off because the client read too slowly.");
  per_rpc(page, input.rpc, [](const StreamCounters& c) { return c.aborted.load(); });
  page.family("heddle_control_updates_total", "counter", "Messages sent on discovery streams.");
  per_rpc(page, input.rpc, [](const StreamCounters& c) { return c.messages.load(); });
  page.family("heddle_control_questions", "gauge", "Different questions that streams ask.");
  page.sample("{rpc=\"Get\"}", input.endpoint_questions);
  page.sample("{rpc=\"GetProfile\"}", input.profile_questions);
}

void add_certificates(Page& page, const MetricsInput& input) {
  page.family("heddle_control_certificates_issued_total", "counter", "Leaf certificates signed.");
  page.sample("", input.certificates.issued.load());
  page.family("heddle_control_certificates_refused_total", "counter", "Certificate requests refused.");
  for (std::size_t i = 0; i < refusal_names.size(); ++i) {
    page.sample(fmt::format("{{reason=\"{}\"}}", refusal_names[i]), input.certificates.refused[i].load());
  }
  page.family("heddle_control_certificates_waiting", "gauge",
              "Certificate requests that wait for their pod to be known.");
  page.sample("", input.rpc.certify_waiting.load());
  page.family("heddle_control_issuer_expiration_timestamp_seconds", "gauge",
              "When the issuer certificate expires.");
  page.sample("", std::chrono::system_clock::to_time_t(input.issuer_not_after));
}

void add_reviews(Page& page, const ReviewCounters& reviews, const RpcCounters& rpc) {
  page.family("heddle_control_token_reviews_total", "counter", "Tokens that the API server was asked about.");
  for (std::size_t i = 0; i < review_result_names.size(); ++i) {
    page.sample(fmt::format("{{result=\"{}\"}}", review_result_names[i]), reviews.results[i].load());
  }
  page.family("heddle_control_tokens_refused_unasked_total", "counter",
              "Tokens refused for their shape or claims, without a review.");
  for (const ReviewResult result : {ReviewResult::invalid, ReviewResult::audience, ReviewResult::expired}) {
    const auto index = static_cast<std::size_t>(result);
    page.sample(fmt::format("{{result=\"{}\"}}", review_result_names[index]), reviews.unasked[index].load());
  }
  page.family(
      "heddle_control_token_reviews_over_budget_total", "counter",
      "Requests refused because too many tokens of their peer, or of strangers, were being reviewed.");
  page.sample("", rpc.reviews_over_budget.load());
  page.family("heddle_control_token_reviews_outstanding", "gauge", "Reviews that wait for the API server.");
  page.sample("", reviews.outstanding.load());
  page.family("heddle_control_token_review_duration_seconds", "histogram", "From a token to its review.");
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < reviews.took.size(); ++i) {
    total += reviews.took[i].load();
    const std::string bound = i < ReviewCounters::bounds.size() ? fmt::format("{}", ReviewCounters::bounds[i])
                                                                : std::string("+Inf");
    page.sample_of("_bucket", fmt::format("{{le=\"{}\"}}", bound), total);
  }
  page.sample_of("_sum", "", static_cast<double>(reviews.took_microseconds.load()) / 1e6);
  page.sample_of("_count", "", total);
}

void add_source(Page& page, const source::Status& status) {
  page.family("heddle_control_source_objects", "gauge", "Kubernetes objects in use.");
  page.sample("", status.objects);
  page.family("heddle_control_source_version", "gauge", "Rises with every change of the objects.");
  page.sample("", status.version);
  page.family("heddle_control_source_broken_files", "gauge",
              "Files or objects whose last good state stays in use.");
  page.sample("", status.broken_files);
  page.family("heddle_control_source_errors_total", "counter",
              "Files, objects or answers that could not be had or used.");
  page.sample("", status.errors);
  page.family("heddle_control_source_connected", "gauge", "1 while changes are being seen.");
  page.sample("", status.connected ? 1 : 0);
  page.family("heddle_control_source_synced", "gauge", "1 once all objects were read.");
  page.sample("", status.synced ? 1 : 0);
  page.family("heddle_control_source_last_event_age_seconds", "gauge",
              "Since the source last heard of its folder or API server.");
  page.sample("",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - status.last_heard).count());
}

void add_injector(Page& page, const InjectorCounters& injector) {
  page.family("heddle_control_injector_requests_total", "counter",
              "Admission reviews answered, all allowed.");
  std::uint64_t answered = 0;
  for (std::size_t i = 0; i < injector_outcome_names.size(); ++i) {
    answered += injector.outcomes[i].load();
    page.sample(fmt::format("{{outcome=\"{}\"}}", injector_outcome_names[i]), injector.outcomes[i].load());
  }
  page.family("heddle_control_injector_bad_requests_total", "counter",
              "Requests that could not be answered with a review.");
  page.sample("", injector.server.bad_requests.load());
  // A summary's two samples have names of their own.
  page.family("heddle_control_injector_duration_seconds", "summary", "Time spent on admission reviews.");
  page.sample("_sum", static_cast<double>(injector.microseconds.load()) / 1e6);
  page.sample("_count", answered);
  page.family("heddle_control_injector_connections", "gauge", "Open connections to the webhook.");
  page.sample("", injector.server.open.load());
  page.family("heddle_control_injector_connections_refused_total", "counter",
              "Connections closed at once: too many, or no certificate yet.");
  page.sample("", injector.server.turned_away.load());
  page.family("heddle_control_injector_handshakes_failed_total", "counter", "TLS handshakes that failed.");
  page.sample("", injector.server.handshakes_failed.load());
  page.family("heddle_control_injector_certificate_expiration_timestamp_seconds", "gauge",
              "When the webhook's certificate expires; 0 while there is none.");
  page.sample("", injector.keeper.certificate_ends.load());
  page.family("heddle_control_injector_certificates_made_total", "counter",
              "Certificates of the webhook that this replica made or renewed.");
  page.sample("", injector.keeper.certificates_made.load());
  page.family("heddle_control_injector_bundle_patches_total", "counter",
              "Times that this replica put caBundle right.");
  page.sample("", injector.keeper.bundles_patched.load());
  page.family("heddle_control_injector_keeper_failures_total", "counter",
              "Rounds in which certificate or caBundle could not be kept right.");
  page.sample("", injector.keeper.failures.load());
}

void add_taints(Page& page, const TaintCounters& taints) {
  page.family("heddle_control_startup_taints_removed_total", "counter",
              "Nodes that this replica freed of heddle.io/agent-not-ready.");
  page.sample("", taints.removed.load());
  page.family("heddle_control_startup_taint_conflicts_total", "counter",
              "Patches refused because the node had changed.");
  page.sample("", taints.conflicts.load());
  page.family("heddle_control_startup_taint_failures_total", "counter",
              "Nodes that could not be read or patched.");
  page.sample("", taints.failures.load());
}

}  // namespace

std::string render_metrics(const MetricsInput& input) {
  Page page;
  page.family("heddle_build_info", "gauge", "Which program this is.");
  page.sample(fmt::format("{{component=\"control\",version=\"{}\"}}", input.version), 1);
  page.family("process_start_time_seconds", "gauge", "When the process started.");
  page.sample("", std::chrono::system_clock::to_time_t(input.started));
  add_destination(page, input);
  add_certificates(page, input);
  if (input.reviews != nullptr) add_reviews(page, *input.reviews, input.rpc);
  add_source(page, input.source);
  if (input.injector != nullptr) add_injector(page, *input.injector);
  if (input.taints != nullptr) add_taints(page, *input.taints);
  return page.take();
}

}  // namespace heddle::control
