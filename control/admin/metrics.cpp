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

}  // namespace

std::string render_metrics(const MetricsInput& input) {
  Page page;
  page.family("heddle_build_info", "gauge", "Which program this is.");
  page.sample(fmt::format("{{component=\"control\",version=\"{}\"}}", input.version), 1);
  page.family("process_start_time_seconds", "gauge", "When the process started.");
  page.sample("", std::chrono::system_clock::to_time_t(input.started));
  add_destination(page, input);
  add_certificates(page, input);
  add_source(page, input.source);
  return page.take();
}

}  // namespace heddle::control
