# SPDX-License-Identifier: Apache-2.0
"""Readings of processes and of the machine."""
import os
import time

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_ns(pids, required=True):
    """What the processes' threads have used so far, to the nanosecond; of threads that ended, nothing. ValueError for a
    process that has ended, if it is `required`: its next reading would be less than its last."""
    total = 0
    for pid in pids:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except FileNotFoundError:
            if required:
                raise ValueError(f"process {pid} has ended") from None
            continue
        for task in tasks:
            try:
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total


def memory_kib(pids):
    """Resident, as Rss and as Pss (pages that several processes map count in parts)."""
    total = {"rss": 0, "pss": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                name, _, value = line.partition(":")
                if name.lower() in total:
                    total[name.lower()] += int(value.split()[0])
    return total


def busy_ns():
    """CPU used on the whole machine so far, what the hypervisor took included."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = [int(word) for word in f.readline().split()[1:9]]
    return (user + nice + system + irq + softirq + steal) * TICK_NS


def own_ns():
    """Of this process and of the children that it has waited for."""
    used = os.times()
    return int((used.user + used.system + used.children_user + used.children_system) * 1e9)


class Reading:
    """A pair's CPU by side, at one moment; `backends` are processes that are neither a pair's nor foreign."""

    def __init__(self, pair, backends, pairs):
        self.sides = {side: cpu_ns(pids) for side, pids in pair.pids.items()}
        everybody = {pid for each in pairs for pids in each.pids.values() for pid in pids} | set(backends)
        self.known = cpu_ns(everybody, required=False) + own_ns()
        self.busy = busy_ns()
        self.at = time.monotonic_ns()

    def since(self, before):
        """By side in microseconds, and how many processors foreign programs used."""
        sides = {side: (ns - before.sides[side]) / 1000 for side, ns in self.sides.items()}
        foreign = (self.busy - before.busy) - (self.known - before.known)
        return sides, max(0, foreign) / (self.at - before.at)
