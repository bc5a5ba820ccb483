// SPDX-License-Identifier: Apache-2.0
#include "control/injector/review.h"

#include <boost/json.hpp>

#include "control/source/base64.h"
#include "control/source/reader.h"

namespace heddle::control {
namespace {

namespace json = boost::json;
using source::Reader;
using source::Value;

// A pod's review has some hundred values; memory is bounded by these before anything is believed.
constexpr source::Limits limits{longest_review, 100'000, 48};
constexpr std::size_t longest_warning = 200;

void add_container_names(Reader& in, const Value* spec, std::string_view list, AdmittedPod& pod) {
  in.each_in(spec, list,
             [&](const Value& container) { pod.containers.push_back(in.text(&container, "name")); });
}

void read_pod(const Value& object, AdmissionRequest& request) {
  Reader in;
  in.enter(object, "Pod");
  AdmittedPod& pod = request.pod;
  const Value* meta = in.map(&object, "metadata");
  pod.meta.ns = request.ns;
  pod.meta.name = in.text(meta, "name");
  pod.meta.annotations = in.labels(meta, "annotations");
  pod.generate_name = in.text(meta, "generateName");
  pod.has_annotations = in.map(meta, "annotations") != nullptr;
  const Value* spec = in.map(&object, "spec");
  pod.host_network = in.flag(spec, "hostNetwork", false);
  add_container_names(in, spec, "initContainers", pod);
  add_container_names(in, spec, "containers", pod);
  if (const auto done = in.result(); !done) request.complaint = done.error().message();
}

// A name as a part of a JSON pointer (RFC 6901).
std::string escaped(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

// Only "add", which replaces too. No "test": the API server refuses a pod whose patch fails, and it patches
// the very object that it asked about.
std::string patch(const AdmittedPod& pod, const source::Labels& annotations) {
  json::array operations;
  if (!pod.has_annotations) {
    operations.push_back({{"op", "add"}, {"path", "/metadata/annotations"}, {"value", json::object()}});
  }
  for (const auto& [key, value] : annotations) {
    operations.push_back(
        {{"op", "add"}, {"path", "/metadata/annotations/" + escaped(key)}, {"value", value}});
  }
  return json::serialize(operations);
}

}  // namespace

Result<AdmissionRequest> read_admission_request(std::string_view text) {
  const auto documents = source::read_json(text, limits);
  if (!documents) return documents.error();
  if (documents->size() != 1) return make_error(Errc::invalid_argument, "not one AdmissionReview");
  const Value& review = documents->front();
  Reader in;
  in.enter(review, "AdmissionReview");
  AdmissionRequest request;
  request.api_version = in.text(&review, "apiVersion");
  const bool known =
      request.api_version == "admission.k8s.io/v1" || request.api_version == "admission.k8s.io/v1beta1";
  if (in.text(&review, "kind") != "AdmissionReview" || !known) {
    return make_error(Errc::invalid_argument, "neither an AdmissionReview of v1 nor of v1beta1");
  }
  const Value* asked = in.map(&review, "request");
  request.uid = in.text(asked, "uid");
  if (request.uid.empty())
    return make_error(Errc::invalid_argument, "an AdmissionReview without request.uid");
  request.ns = in.text(asked, "namespace");
  const Value* kind = in.map(asked, "kind");
  request.pod_create = in.text(asked, "operation") == "CREATE" && in.text(kind, "kind") == "Pod" &&
                       in.text(kind, "group").empty() && in.text(asked, "subResource").empty();
  const Value* object = in.map(asked, "object");
  if (const auto done = in.result(); !done) {
    request.complaint = done.error().message();
  } else if (request.pod_create && object == nullptr) {
    request.complaint = "request.object is missing";
  } else if (request.pod_create) {
    read_pod(*object, request);
  }
  return request;
}

std::string write_admission_review(const AdmissionRequest& request, const AdmissionAnswer& answer) {
  json::object response{{"uid", request.uid}, {"allowed", true}};
  if (!answer.annotations.empty()) {
    response["patchType"] = "JSONPatch";
    response["patch"] = source::to_base64(patch(request.pod, answer.annotations));
  }
  if (!answer.warnings.empty()) {
    json::array warnings;
    for (const std::string& warning : answer.warnings) {
      warnings.emplace_back(warning.substr(0, longest_warning));
    }
    response["warnings"] = std::move(warnings);
  }
  return json::serialize(
      json::object{{"apiVersion", request.api_version}, {"kind", "AdmissionReview"}, {"response", response}});
}

}  // namespace heddle::control
