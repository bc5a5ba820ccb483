// SPDX-License-Identifier: Apache-2.0
// PURE. The few constructs of Helm's template language that deploy/chart keeps to, so that one text is both
// the chart and what the command renders.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace heddle::tools {

// Fills in:
//   {{ .Values.a.b }}           the value as text        {{ toJson .Values.a.b }}   as JSON, which is YAML
//   {{ toJson . }}              the item of a range
// and, alone on their lines, which vanish:
//   {{- if .Values.a }}  {{- else }}  {{- range .Values.a }}  {{- end }}
// A value is false as Go's templates see it: false, 0, empty or absent. Everything else between {{ and }}, a
// value that is not there, and structures as text are errors that begin with `origin` and the line.
Result<std::string> fill_template(std::string_view text, const boost::json::object& values,
                                  const std::string& origin);

}  // namespace heddle::tools
