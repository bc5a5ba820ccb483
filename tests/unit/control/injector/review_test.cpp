// SPDX-License-Identifier: Apache-2.0
#include "control/injector/review.h"

#include <gmock/gmock.h>

#include "control/source/base64.h"
#include "reviews.h"

namespace heddle::test {
namespace {

using namespace control;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace json = boost::json;

json::object answer_of(const AdmissionRequest& request, const AdmissionAnswer& answer) {
  return json::parse(write_admission_review(request, answer)).as_object();
}

json::value patch_in(const json::object& review) {
  const auto text = source::from_base64(review.at("response").at("patch").as_string());
  EXPECT_TRUE(text);
  return json::parse(text.value_or("null"));
}

TEST(AdmissionReview, TakesThePodsNamespaceFromTheRequest) {
  const auto request = read_recorded("pod");
  EXPECT_TRUE(request.pod_create);
  EXPECT_EQ(request.api_version, "admission.k8s.io/v1");
  EXPECT_EQ(request.uid, "9d398467-6e03-4392-a4cd-448ca1a98884");
  EXPECT_EQ(request.pod.meta.ns, "rec");
  EXPECT_EQ(request.pod.meta.name, "bare");
  EXPECT_THAT(request.pod.containers, ElementsAre("c"));
  EXPECT_FALSE(request.pod.has_annotations);
  EXPECT_EQ(request.complaint, "");
}

TEST(AdmissionReview, ReadsPodsThatHaveNoNameYet) {
  for (const char* name : {"pod_of_generate_name", "pod_of_replica_set", "pod_of_job"}) {
    const auto request = read_recorded(name);
    EXPECT_TRUE(request.pod_create) << name;
    EXPECT_EQ(request.pod.meta.name, "") << name;
    EXPECT_NE(request.pod.generate_name, "") << name;
    EXPECT_EQ(request.complaint, "") << name;
  }
}

TEST(AdmissionReview, SeesWhatIsNoPod) {
  EXPECT_FALSE(read_recorded("deployment").pod_create);
}

TEST(AdmissionReview, IsAnsweredInTheVersionItCameIn) {
  std::string text = recorded("pod");
  text.replace(text.find("admission.k8s.io/v1"), 19, "admission.k8s.io/v1beta1");
  const auto request = read_admission_request(text);
  ASSERT_TRUE(request);
  const auto review = answer_of(*request, {});
  EXPECT_EQ(review.at("apiVersion"), "admission.k8s.io/v1beta1");
  EXPECT_EQ(review.at("kind"), "AdmissionReview");
  EXPECT_EQ(review.at("response").at("uid"), request->uid.c_str());
  EXPECT_EQ(review.at("response").at("allowed"), true);
  EXPECT_FALSE(review.at("response").as_object().contains("patch"));
  EXPECT_FALSE(review.at("response").as_object().contains("warnings"));
}

TEST(AdmissionReview, MakesTheAnnotationsThatThePatchNeeds) {
  const auto review = answer_of(read_recorded("pod"), {{{"heddle.io/mode", "node"}}, {}});
  EXPECT_EQ(review.at("response").at("patchType"), "JSONPatch");
  EXPECT_EQ(patch_in(review), json::parse(R"([{"op":"add","path":"/metadata/annotations","value":{}},
      {"op":"add","path":"/metadata/annotations/heddle.io~1mode","value":"node"}])"));
}

TEST(AdmissionReview, KeepsTheAnnotationsThatAreThere) {
  auto request = read_recorded("pod");
  request.pod.has_annotations = true;
  const auto review = answer_of(request, {{{"a~b/c", "node"}}, {}});
  EXPECT_EQ(patch_in(review),
            json::parse(R"([{"op":"add","path":"/metadata/annotations/a~0b~1c","value":"node"}])"));
}

TEST(AdmissionReview, CutsWarningsBelowWhatAnApiServerShows) {
  const auto review = answer_of(read_recorded("pod"), {{}, {std::string(1000, 'w')}});
  EXPECT_LE(review.at("response").at("warnings").at(0).as_string().size(), 256U);
}

TEST(AdmissionReview, IsRefusedIfNothingCouldBeAnswered) {
  for (const char* text :
       {"", "null", "[]", "{}", R"({"kind":"AdmissionReview"})",
        "{\"kind\":", R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}})",
        R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v2","request":{"uid":"1"}})"}) {
    EXPECT_FALSE(read_admission_request(text)) << text;
  }
  EXPECT_FALSE(read_admission_request(std::string(longest_review + 1, ' ')));
  EXPECT_FALSE(read_admission_request(std::string(1000, '[')));
}

TEST(AdmissionReview, OfAPodThatIsNotAsItShouldBeCarriesAComplaint) {
  const std::string begin =
      R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",)"
      R"("operation":"CREATE","kind":{"group":"","version":"v1","kind":"Pod"})";
  for (const char* rest :
       {R"(}})", R"(,"object":7}})", R"(,"object":{"metadata":[]}}})",
        R"(,"object":{"metadata":{"annotations":{"a":{}}}}}})", R"(,"object":{"spec":{"containers":{}}}}})",
        R"(,"object":{"spec":{"hostNetwork":"maybe"}}}})"}) {
    const auto request = read_admission_request(begin + rest);
    ASSERT_TRUE(request) << rest;
    EXPECT_NE(request->complaint, "") << rest;
  }
}

}  // namespace
}  // namespace heddle::test
