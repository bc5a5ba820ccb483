// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/template.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>

namespace heddle::tools {
namespace {

using testing::HasSubstr;

const boost::json::object values = boost::json::parse(R"({
  "name": "mesh", "count": 3, "on": true, "off": false, "none": [], "empty": "",
  "list": ["a", "b\"c"], "deep": {"map": {"k": 1}}})")
                                       .as_object();

std::string filled(const std::string& text) {
  const auto out = fill_template(text, values, "f.yaml");
  return out ? *out : "error: " + out.error().message();
}

TEST(Template, PutsValuesIntoText) {
  EXPECT_EQ(filled("a: {{ .Values.name }}-{{ .Values.count }}\n"), "a: mesh-3\n");
  EXPECT_EQ(filled("a: {{ toJson .Values.deep.map }}\n"), "a: {\"k\":1}\n");
  EXPECT_EQ(filled("no newline {{ .Values.on }}"), "no newline true\n");
}

TEST(Template, KeepsWhatIsTrue) {
  EXPECT_EQ(filled("x\n{{- if .Values.on }}\ny\n{{- end }}\nz\n"), "x\ny\nz\n");
  for (const char* name : {"off", "none", "empty"}) {
    EXPECT_EQ(filled("x\n{{- if .Values." + std::string(name) + " }}\ny\n{{- else }}\nn\n{{- end }}\n"),
              "x\nn\n");
  }
}

TEST(Template, RepeatsForEveryItem) {
  EXPECT_EQ(filled("{{- range .Values.list }}\n- {{ toJson . }}\n{{- end }}\n"), "- \"a\"\n- \"b\\\"c\"\n");
  EXPECT_EQ(filled("{{- range .Values.none }}\n- {{ toJson . }}\n{{- end }}\n"), "");
}

TEST(Template, NestsBlocks) {
  EXPECT_EQ(filled("{{- if .Values.on }}\n{{- if .Values.off }}\na\n{{- else }}\nb\n{{- end }}\n{{- else "
                   "}}\nc\n{{- end }}\n"),
            "b\n");
}

TEST(Template, SaysWhereItCannotGoOn) {
  EXPECT_THAT(filled("ok\n{{ .Values.missing }}\n"),
              HasSubstr("f.yaml:2: there is no value .Values.missing"));
  EXPECT_THAT(filled("{{ .Values.name.below }}"), HasSubstr("there is no value"));
  EXPECT_THAT(filled("{{ .Values.deep }}"), HasSubstr("use toJson"));
  EXPECT_THAT(filled("{{ .Values.name | quote }}"), HasSubstr("no value"));
  EXPECT_THAT(filled("{{ include \"x\" . }}"), HasSubstr("cannot evaluate"));
  EXPECT_THAT(filled("{{ .Values.name"), HasSubstr("without '}}'"));
  EXPECT_THAT(filled("{{- if .Values.on }}\n"), HasSubstr("without {{- end }}"));
  EXPECT_THAT(filled("{{- end }}\n"), HasSubstr("unexpected 'end'"));
  EXPECT_THAT(filled("{{- range .Values.name }}\n{{- end }}\n"), HasSubstr("range needs a list"));
}

TEST(Template, RefusesBottomlessNesting) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "{{- if .Values.on }}\n";
  for (int i = 0; i < 40; ++i) text += "{{- end }}\n";
  EXPECT_THAT(filled(text), HasSubstr("nested more than 16 deep"));
}

}  // namespace
}  // namespace heddle::tools
