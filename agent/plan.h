// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

// The order of things. Pure: no socket, clock or map is touched here. The invariants live in plan() alone:
//   listen, then redirect; un-redirect, then close;
//   from one way of redirecting to the other without an instant between them;
//   nothing is redirected that the state file does not know, so that no crash leaves an unknown redirection.
namespace heddle::agent {

enum class Mode : std::uint8_t { ebpf, iptables };
std::string_view to_string(Mode mode);

enum class Step : std::uint8_t {
  listen,     // listeners made in the pod's netns; the agent keeps them (escrow)
  record,     // the state file knows the sandbox as it shall be
  offer,      // the proxies have the listeners (acknowledged, or the deadline passed)
  prepare,    // eBPF: maps filled, sk_lookup attached
  enrol,      // eBPF: connects are redirected
  install,    // iptables: nat rules in the netns
  disenrol,   // reverse of enrol
  settle,     // a moment in which what peers send to the mesh still arrives there: they are being told
  unprepare,  // reverse of prepare
  uninstall,  // reverse of install
  withdraw,   // reverse of offer
  close,      // reverse of listen: the agent's copies are closed (a held listener keeps a netns alive)
  forget,     // reverse of record
};
std::string_view to_string(Step step);
// The step that takes this one back; for a step that takes back, itself.
Step undo_of(Step step);

// What a sandbox shall be.
struct Goal {
  enum class Kind : std::uint8_t {
    absent,  // nothing is left of it
    known,   // recorded, not meshed
    meshed,
  };
  Kind kind = Kind::absent;
  Mode mode = Mode::ebpf;        // meshed only
  std::uint64_t generation = 0;  // of the pod's description; a change is carried to proxy and maps

  bool operator==(const Goal&) const = default;
};

// What a sandbox is, as far as the steps have come.
struct Progress {
  bool listening = false;
  bool recorded = false;
  bool offered = false;
  bool prepared = false;
  bool enrolled = false;
  bool installed = false;
  bool settled = false;  // since it was to be released
  std::uint64_t recorded_generation = 0;
  std::uint64_t offered_generation = 0;
  std::uint64_t applied_generation = 0;  // of maps (prepare) or rules (install)

  bool operator==(const Progress&) const = default;
};

// The steps that lead from `progress` to `goal`, in order. Empty: it is there.
std::vector<Step> plan(const Progress& progress, const Goal& goal);

// `progress` after `step` succeeded on the way to `goal`.
Progress after(Progress progress, Step step, const Goal& goal);

}  // namespace heddle::agent
