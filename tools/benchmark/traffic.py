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
import shutil
import signal
import subprocess
import sys
import time

import memory
import peers
import picture
import results
import stacks
from lab import PRIORITY, fail
from measure import Reading
from pairs import WAYS, Mesh
from workloads import WARM_UPS, WORKLOADS

AGAIN = "heddle-again"  # heddle once more: how far two equal things measure apart
PAIRS = ["direct", "heddle", AGAIN, "heddle-same-node", "heddle-iptables", *peers.PEERS]
AGAINST = ["against" + way for way in WAYS]
QUICK = ["h1_c16", "h2_16x10", "conn_tcp", "tcp_ping64"]
IDLE = [memory.NO_POD, *memory.IDLE]


class Tools:
    """Programs and files that load commands name."""

    def __init__(self, build):
        self.traffic = os.path.join(build, "bench", "heddle-traffic")
        self.forwarder = os.path.join(build, "bench", "heddle-forwarder")
        self.folder = ""
        self.bulk_bytes_per_second = 512 << 20

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)


class Run:
    """The labs that are up, and the pairs in them."""

    def __init__(self, options, names, tools):
        self.labs = []
        self.tools = tools
        try:
            self.mesh = self.lab(options.bin_dir, "")
            tools.folder = self.mesh.folder
            other = self.lab(options.against, "-against") if any(name in AGAINST for name in names) else None
            self.pairs = [self.pair(name, other) for name in names]
        except BaseException:
            self.down()
            raise

    def lab(self, bin_dir, suffix):
        self.labs.append(Mesh(bin_dir, self.tools.traffic, suffix))
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

    def able(self, workload):
        """A flood needs one proxy that serves two pods, or what stands for that: not every way has it."""
        return [pair for pair in self.pairs if workload.protocol in pair.targets
                and not (workload.flood and pair.name.endswith(("-same-node", "-iptables")))]

    def command(self, workload, pair, seconds):
        return pair.command(workload.load.command(pair.targets[workload.protocol], seconds, self.tools))

    def measure(self, workload, pair, seconds):
        """One run; raises ValueError when it was none."""
        command = self.command(workload, pair, seconds)
        backends = [pid for lab in self.labs for pid in lab.backends]
        flood = self.flood(workload, pair, seconds)
        before = Reading(pair, backends, self.pairs)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
            sides, foreign = Reading(pair, backends, self.pairs).since(before)
        finally:
            if flood:
                flood.communicate(timeout=60)
        found = self.found(workload, command, done)
        run = {"pair": pair.name, "kind": pair.kind, "workload": workload.name, **found,
               "per_second": round(found["requests"] / found["seconds"], 2), "foreign": round(foreign, 3)}
        if workload.unit == "GiB":
            run["per_second"] = round(workload.units(found) / found["seconds"], 3)
        if pair.pids and not workload.flood:
            units = workload.units(found)
            run |= {f"cpu_us_{side}": round(us / units, 3) for side, us in sides.items()}
            run["cpu_us"] = round((sides.get("client", 0) + sides.get("server", 0)) / units, 3)
        return run

    def found(self, workload, command, done):
        if done.returncode != 0:
            raise ValueError(f"{' '.join(command)} failed: {done.stderr[-400:]}")
        found = workload.load.result(done.stdout, self.tools)
        if not workload.units(found):
            raise ValueError(f"{' '.join(command)}: nothing was answered: {done.stdout[-400:]}{done.stderr[-400:]}")
        return found

    def flood(self, workload, pair, seconds):
        """Started, in a neighbour's pod, for somewhat longer than what is measured. Its program gives way on its
        processor to the one that is measured: what is looked at is the proxies'."""
        if not workload.flood:
            return None
        load = workload.flood.command(pair.targets[workload.protocol], seconds + 1, self.tools)
        flood = subprocess.Popen(pair.command(load, pair.neighbour, PRIORITY + 5), stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        time.sleep(.3)
        return flood

    def inspect(self, workload, pair, seconds, profile):
        """System calls per request; with `profile`, a folder, flame graphs too."""
        command = self.command(workload, pair, seconds)
        proxies = [pid for pids in pair.proxies().values() for pid in pids]
        output, calls = stacks.count_syscalls(command, proxies)
        units = workload.units(workload.load.result(output, self.tools))
        if profile:
            output = stacks.record(self.command(workload, pair, seconds), proxies,
                                   os.path.join(profile, f"{workload.name}.{pair.name}"))
            workload.load.result(output, self.tools)
        return {"pair": pair.name, "kind": pair.kind, "workload": workload.name,
                "syscalls": {name: round(count / units, 3) for name, count in calls.items()}}

    def down(self):
        for lab in self.labs:
            lab.down()
        self.labs = []


def choose(options):
    """Names of pairs and workloads; ends the program for those that do not exist or cannot run here."""
    known = [*WORKLOADS, *IDLE]
    workloads = options.workload.split(",") if options.workload else QUICK if options.quick else known
    unknown = [name for name in workloads if name not in known]
    if unknown:
        fail(f"no such workload: {', '.join(unknown)}; there are {', '.join(known)}")
    available = PAIRS + (AGAINST if options.against else [])
    names = options.pair.split(",") if options.pair else [
        name for name in available if name not in peers.PEERS or peers.installed(name)]
    unknown = [name for name in names if name not in available]
    if unknown:
        fail(f"no such pair: {', '.join(unknown)}; there are {', '.join(available)}"
             + ("" if options.against else f", and with --against DIR {', '.join(AGAINST)}"))
    missing = [name for name in names if name in peers.PEERS and not peers.installed(name)]
    programs = {WORKLOADS[name].load.program for name in workloads if name in WORKLOADS} - {None}
    if options.syscalls or options.profile:
        programs.add("perf")
    missing += sorted(program for program in programs if not shutil.which(program))
    if missing:
        fail(f"not installed: {', '.join(missing)}. Run tools/setup --bench, or choose others with --pair and --workload")
    return names, workloads


def rotated(pairs, turn):
    turn %= len(pairs)
    order = pairs[turn:] + pairs[:turn]
    return order if turn % 2 == 0 else order[::-1]


def attempt(store, workload, pair_name, measure):
    """Adds what `measure` returns; a run that failed is said and kept as one."""
    try:
        store.add(measure())
    except (ValueError, subprocess.TimeoutExpired) as error:
        print(f"tools/bench: {workload}, {pair_name}: {error}", file=sys.stderr)
        store.add({"pair": pair_name, "workload": workload, "failed": str(error)})


def warm_up(run, pair, protocol):
    """A connection for each stream may take longer to make than the warm-up is: so it has a few attempts."""
    for last in (False, False, False, True):
        try:
            return run.measure(WARM_UPS[protocol], pair, .3)
        except ValueError as error:
            if last:
                fail(f"{pair.name} does not work: {error}")


def measure_load(options, names, workloads, tools, store):
    began = time.monotonic()
    run = Run(options, names, tools)
    try:
        print(f"tools/bench: {len(run.pairs)} pairs are up after {time.monotonic() - began:.1f} s", file=sys.stderr)
        for protocol in {workload.protocol for workload in workloads}:
            for pair in run.pairs:
                if protocol in pair.targets:
                    warm_up(run, pair, protocol)
        for turn in range(store.first_round, store.first_round + options.rounds):
            store.round = turn
            for workload in workloads:
                for pair in rotated(run.able(workload), turn):
                    attempt(store, workload.name, pair.name, lambda: run.measure(workload, pair, options.seconds))
        for workload in workloads if options.syscalls or options.profile else []:
            for pair in run.able(workload):
                if pair.pids and not workload.flood:
                    attempt(store, workload.name, pair.name,
                            lambda: run.inspect(workload, pair, options.seconds, options.profile))
    finally:
        run.down()


def measure_idle(options, names, workloads, tools, store):
    for workload in workloads:
        for name in names:
            protocol = memory.IDLE[workload][1] if workload in memory.IDLE else "h1"
            meshed = name == "heddle" or name == "against"
            if not meshed and (workload == memory.NO_POD or protocol not in peers.PEERS.get(name, [()])[0]):
                continue
            bin_dir = options.against if name == "against" else options.bin_dir
            for found in memory.measure(name, workload, bin_dir, tools):
                store.add(found)


def measure(options, store):
    names, chosen = choose(options)
    tools = Tools(options.build_dir)
    if options.profile:
        os.makedirs(options.profile, exist_ok=True)
    try:
        load = [WORKLOADS[name] for name in chosen if name in WORKLOADS]
        if load:
            measure_load(options, names, load, tools, store)
        if options.rounds > 0:
            measure_idle(options, names, [name for name in chosen if name in IDLE], tools, store)
    except ValueError as error:
        fail(str(error))
    finally:
        store.save()


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True, type=os.path.abspath)
    parser.add_argument("--bin-dir", type=os.path.abspath)
    parser.add_argument("--against", type=os.path.abspath)
    parser.add_argument("--workload")
    parser.add_argument("--pair")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--syscalls", action="store_true")
    parser.add_argument("--profile", type=os.path.abspath)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=os.path.abspath)
    parser.add_argument("--picture", type=os.path.abspath)
    options = parser.parse_args()
    options.bin_dir = options.bin_dir or os.path.join(options.build_dir, "bin")
    if options.quick:
        options.rounds, options.seconds = 1, 1
    return options


def end(*_):
    """Once: what is being taken down then is not interrupted again."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main():
    options = parse()
    signal.signal(signal.SIGTERM, end)
    store = results.Store(options.results)
    if options.rounds > 0 or options.syscalls or options.profile:
        measure(options, store)
    summary = results.summarize(store.runs, PAIRS + AGAINST)
    if options.picture:
        with open(options.picture, "w") as f:
            f.write(picture.draw(summary, {name: f"{name}: {each.title}" for name, each in WORKLOADS.items()}))
    print(json.dumps({"results": summary}) if options.json else results.markdown(summary, PAIRS + AGAINST))


if __name__ == "__main__":
    main()
