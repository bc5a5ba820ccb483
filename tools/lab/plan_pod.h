// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>

#include "tools/lab/plan.h"

namespace heddle::tools {

// One Pod object; its node may be left empty (the planner chooses one).
Result<LabPod> plan_pod(const boost::json::object& object);
// One Service object. `index` picks the cluster addresses of those that name none: 10.96.0.INDEX,
// fd00:10:96::INDEX.
Result<LabService> plan_service(const boost::json::object& object, unsigned index);

}  // namespace heddle::tools
