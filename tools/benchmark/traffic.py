#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP and TCP through heddle and through the packaged peers, side by side in one run.

Every pair has its turn in each round, in an order that rotates; what counts are ratios within rounds. CPU is what the
proxies' threads used, client's and server's side apart, per request; it is exact also while others compute, but caches
and interruptions are not: so foreign load stands beside.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

import peers
import results
from lab import fail
from measure import Reading
from pairs import WAYS, Mesh
from workloads import WORKLOADS

AGAIN = "heddle-again"  # heddle once more: how far two equal things measure apart
HEDDLE = ["heddle", "heddle-same-node", "heddle-iptables"]
PAIRS = ["direct", *HEDDLE, AGAIN, *peers.PEERS]
QUICK = ["h1_c16", "h2_16x10", "grpc_16x10", "conn_tcp", "tcp_ping64"]


class Tools:
    """Programs and files that load commands name."""

    def __init__(self, build, folder):
        self.traffic = os.path.join(build, "bench", "heddle-traffic")
        self.forwarder = os.path.join(build, "bench", "heddle-forwarder")
        self.folder = folder
        self.bulk_bytes_per_second = 512 << 20

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)


class Run:
    """The labs that are up, and the pairs in them."""

    def __init__(self, options, names):
        build = os.path.abspath(options.build_dir)
        self.labs = []
        self.pairs = []
        self.tools = Tools(build, "")
        try:
            self.mesh = self.lab(options.bin_dir or os.path.join(build, "bin"), "")
            self.tools.folder = self.mesh.folder
            other = self.lab(options.against, "-against") if options.against else None
            for name in names:
                self.pairs.append(self.pair(name, other))
        except BaseException:
            self.down()
            raise

    def lab(self, bin_dir, suffix):
        self.labs.append(Mesh(os.path.abspath(bin_dir), self.tools.traffic, suffix))
        return self.labs[-1]

    def pair(self, name, other):
        if name == "direct":
            return self.mesh.direct()
        if name == AGAIN:
            return self.mesh.through_mesh(name, "")
        for prefix, lab in (("heddle", self.mesh), ("against", other)):
            if name.startswith(prefix):
                return lab.through_mesh(name, name.removeprefix(prefix))
        return self.mesh.peer(name, self.tools.forwarder)

    def measure(self, workload, pair, seconds):
        """One run; raises ValueError when it was none."""
        command = pair.command(workload.load.command(pair.targets[workload.protocol], seconds, self.tools),
                               self.mesh.load_cpu)
        backends = [pid for lab in self.labs for pid in lab.backends]
        before = Reading(pair, backends, self.pairs)
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        sides, foreign = Reading(pair, backends, self.pairs).since(before)
        if done.returncode != 0:
            raise ValueError(f"{' '.join(command)} failed: {done.stderr[-400:]}")
        found = workload.load.result(done.stdout, self.tools)
        units = workload.units(found)
        if units == 0:
            raise ValueError(f"{' '.join(command)}: nothing was answered: {done.stdout[-400:]}{done.stderr[-400:]}")
        cpu = {f"cpu_us_{side}": round(us / units, 3) for side, us in sides.items()}
        return {"pair": pair.name, "kind": pair.kind, "workload": workload.name, "unit": workload.unit, **found, **cpu,
                "cpu_us": round((sides.get("client", 0) + sides.get("server", 0)) / units, 3),
                "per_second": round(units / found["seconds"], 2), "foreign": round(foreign, 3)}

    def down(self):
        for lab in self.labs:
            lab.down()
        self.labs = []


def choose(options):
    """Names of pairs and workloads; fails for those that do not exist or cannot run here."""
    workloads = options.workload.split(",") if options.workload else QUICK if options.quick else list(WORKLOADS)
    unknown = [name for name in workloads if name not in WORKLOADS]
    if unknown:
        fail(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    against = ["against" + way for way in WAYS] if options.against else []
    available = PAIRS + against
    names = options.pair.split(",") if options.pair else [
        name for name in available if name not in peers.PEERS or peers.installed(name)]
    unknown = [name for name in names if name not in available]
    if unknown:
        fail(f"no such pair: {', '.join(unknown)}; there are {', '.join(available)}"
             + ("" if options.against else " (and with --against DIR: against)"))
    missing = [name for name in names if name in peers.PEERS and not peers.installed(name)]
    if missing:
        fail(f"not installed: {', '.join(missing)}. Run tools/setup --bench, or choose others with --pair")
    return names, [WORKLOADS[name] for name in workloads]


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--bin-dir")
    parser.add_argument("--against")
    parser.add_argument("--workload")
    parser.add_argument("--pair")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results")
    return parser.parse_args()


def rotated(pairs, turn):
    turn %= len(pairs)
    order = pairs[turn:] + pairs[:turn]
    return order if turn % 2 == 0 else order[::-1]


def measure_all(run, workloads, options, store):
    for workload in workloads:
        able = [pair for pair in run.pairs if workload.protocol in pair.targets]
        for pair in able:  # discovery, pools, caches; nothing of it counts
            run.measure(workload, pair, .3)
    first = store.next_round()
    for turn in range(first, first + options.rounds):
        for workload in workloads:
            for pair in rotated([pair for pair in run.pairs if workload.protocol in pair.targets], turn):
                try:
                    store.add(turn, run.measure(workload, pair, options.seconds))
                except ValueError as error:
                    print(f"tools/bench: {workload.name}, {pair.name}: {error}", file=sys.stderr)
                    store.add(turn, {"pair": pair.name, "kind": pair.kind, "workload": workload.name, "failed": str(error)})


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.quick:
        options.rounds, options.seconds = 1, 1
    store = results.Store(options.results)
    if options.rounds > 0:
        names, workloads = choose(options)
        began = time.monotonic()
        run = Run(options, names)
        try:
            print(f"tools/bench: {len(run.pairs)} pairs are up after {time.monotonic() - began:.1f} s", file=sys.stderr)
            measure_all(run, workloads, options, store)
        finally:
            run.down()
    store.save()
    summary = results.summarize(store.runs)
    print(json.dumps({"results": summary}) if options.json else results.markdown(summary, store.runs))


if __name__ == "__main__":
    main()
