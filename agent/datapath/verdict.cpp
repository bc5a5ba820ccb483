// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/datapath.h"

namespace heddle::agent {

const char* verdict_name(heddle_verdict verdict) {
  switch (verdict) {
    case HEDDLE_V_OUT_REDIRECTED:
      return "out_redirected";
    case HEDDLE_V_OUT_LOOPBACK:
      return "out_loopback";
    case HEDDLE_V_OUT_SKIP_PORT:
      return "out_skip_port";
    case HEDDLE_V_OUT_SKIP_CIDR:
      return "out_skip_cidr";
    case HEDDLE_V_OUT_MESH_SOCKET:
      return "out_mesh_socket";
    case HEDDLE_V_OUT_REFUSED:
      return "out_refused";
    case HEDDLE_V_IN_STEERED:
      return "in_steered";
    case HEDDLE_V_IN_LOCAL:
      return "in_local";
    case HEDDLE_V_IN_SKIP_PORT:
      return "in_skip_port";
    case HEDDLE_V_IN_SKIP_CIDR:
      return "in_skip_cidr";
    case HEDDLE_V_IN_PROBE:
      return "in_probe";
    case HEDDLE_V_IN_DROP_NO_LISTENER:
      return "in_drop_no_listener";
    case HEDDLE_V_IN_DROP_UNKNOWN_ADDRESS:
      return "in_drop_unknown_address";
    case HEDDLE_V_IN_FAIL_OPEN:
      return "in_fail_open";
    case HEDDLE_V_ORIGINAL_DST_MISSING:
      return "original_dst_missing";
    case HEDDLE_V_TUPLE_MAP_FULL:
      return "tuple_map_full";
    case HEDDLE_V_OUT_FAIL_OPEN:
      return "out_fail_open";
    case HEDDLE_V_IN_DROP_SELF:
      return "in_drop_self";
    case HEDDLE_V_COUNT:
      break;
  }
  return "unknown";
}

}  // namespace heddle::agent
