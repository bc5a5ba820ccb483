// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/lab/layout.h"

namespace heddle::tools {

// The process behind a lab: makes the network, runs heddle's programs and the pods, keeps the objects folder
// true, answers requests on ROOT/lab.sock (one JSON object each way, SEQPACKET):
//   {"op":"status"}                          everything that runs
//   {"op":"apply","path":FILE_OR_FOLDER}     adds or replaces objects
//   {"op":"delete","kind":"Pod","namespace":NS,"name":NAME or PREFIX*}
//   {"op":"restart","program":"agent|proxy|control","node":NODE or "","kill":BOOL}
// Returns main()'s exit code; a failed set-up is written to ROOT/failed.
int run_lab_daemon(const LabLayout& layout);

}  // namespace heddle::tools
