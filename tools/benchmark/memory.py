# SPDX-License-Identifier: Apache-2.0
"""What proxies keep in memory: of a process without pods, and of idle connections."""
import subprocess
import time

from lab import fail
from measure import memory_kib
from pairs import Mesh

IDLE = {"idle_h1": ("idle-http1", "h1", "idle HTTP/1.1 connections, each after one request"),
        "idle_tcp": ("idle-bytes", "tcp", "idle opaque connections, each after one byte there and back")}
NO_POD = "idle"
COUNTS = (1000, 5000)
# Pools of connections towards applications end after 3 s in heddle; later than that nothing is expected to change.
SETTLE_S = 5


class Holder:
    """A program that holds connections until it is let go."""

    def __init__(self, pair, what, protocol, count, traffic):
        self.process = subprocess.Popen(pair.command([traffic, what, pair.targets[protocol], f"--connections={count}"]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        self.held = int(words[1]) if len(words) == 2 else 0
        if self.held != count:
            self.release()
            fail(f"{pair.name}: {self.held} of {count} idle connections came about")

    def release(self):
        self.process.stdin.close()
        self.process.wait()


def per_side(pair):
    return {side: memory_kib(pids) for side, pids in pair.proxies().items()}


def connections(pair, workload, traffic):
    """A list of runs, one per number of connections: KiB that each holds in each proxy."""
    what, protocol, _ = IDLE[workload]
    runs = []
    holders = [Holder(pair, what, protocol, 1, traffic)]
    try:
        time.sleep(SETTLE_S)
        before = per_side(pair)
        for count in COUNTS:
            holders.append(Holder(pair, what, protocol, count - sum(holder.held for holder in holders), traffic))
            time.sleep(SETTLE_S)
            now = per_side(pair)
            run = {"pair": pair.name, "kind": pair.kind, "workload": workload, "connections": count}
            for side, kib in now.items():
                run[f"pss_mib_{side}"] = round(kib["pss"] / 1024, 2)
                run[f"kib_per_connection_{side}"] = round((kib["rss"] - before[side]["rss"]) / count, 3)
            run["kib_per_connection"] = round(sum(run[f"kib_per_connection_{side}"] for side in now), 3)
            runs.append(run)
    finally:
        for holder in holders:
            holder.release()
    return runs


def no_pod(name, bin_dir, traffic):
    """One node's proxy and agent, with no pod to serve."""
    mesh = Mesh(bin_dir, traffic, "-idle", pods=())
    try:
        time.sleep(SETTLE_S)
        run = {"pair": name, "kind": "heddle", "workload": NO_POD}
        for program in ("proxy", "agent"):
            kib = memory_kib(mesh.programs(program, "one"))
            run |= {f"{program}_{kind}_mib": round(value / 1024, 2) for kind, value in kib.items()}
        return run
    finally:
        mesh.down()


def measure(name, workload, bin_dir, tools):
    """In processes that are fresh: what others left on a heap would count for nothing."""
    if workload == NO_POD:
        return [no_pod(name, bin_dir, tools.traffic)]
    meshed = name in ("heddle", "against")
    mesh = Mesh(bin_dir, tools.traffic, "-idle", ("client", "server") if meshed else ("outside", "outside-server"))
    try:
        pair = mesh.through_mesh(name, "") if meshed else mesh.peer(name, tools.forwarder)
        return connections(pair, workload, tools.traffic)
    finally:
        mesh.down()
