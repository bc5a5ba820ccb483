// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/source/objects.h"

// AdmissionReview, what an API server asks a webhook before it stores an object, and the answer. PURE.
namespace heddle::control {

// The API server's own limit of a request's body.
inline constexpr std::size_t longest_review = 3 * 1024 * 1024;

// A Pod that is about to be made. Its name is empty when the API server is to choose one (generateName), and
// its namespace is said beside the object, not in it.
struct AdmittedPod {
  source::Meta meta;
  std::string generate_name;
  bool host_network = false;
  std::vector<std::string> containers;  // names, init containers included
  bool has_annotations = false;         // metadata.annotations is there, be it empty
};

struct AdmissionRequest {
  std::string api_version;  // admission.k8s.io/v1 or admission.k8s.io/v1beta1; the answer says the same
  std::string uid;
  std::string ns;
  bool pod_create = false;  // else there is nothing for the injector in it
  AdmittedPod pod;          // of a pod_create
  std::string complaint;    // why the pod could not be read; empty: it could
};

// Errc::invalid_argument: no review that could be answered, for want of its version or uid. A pod that is
// not as it should be is no error but a complaint: it has to be admitted.
Result<AdmissionRequest> read_admission_request(std::string_view json);

// Always allowed. `annotations` are added to the pod by a JSON patch that cannot fail: the API server would
// refuse the pod, whatever the failurePolicy.
struct AdmissionAnswer {
  source::Labels annotations;
  std::vector<std::string> warnings;  // shown by kubectl to whoever makes the pod; API servers cut at 256
};
std::string write_admission_review(const AdmissionRequest& request, const AdmissionAnswer& answer);

}  // namespace heddle::control
