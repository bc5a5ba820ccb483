#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interception's price per connection, in a lab of its own.

One client pod per way; a server pod outside the mesh, so that nothing but the way differs, or one that is intercepted as
the client is, so that connections are what they are in a mesh: two interceptions and a stream between two proxies. CPU is what the lab's
whole cgroup used: clients, kernel work on their behalf, proxy, agent, server. Foreign load does not count but
disturbs (caches, interruptions): so rounds are short, every way has its turn in each, and what is compared are ratios
within a round.
"""
import argparse
import json
import os
import random
import signal
import statistics
import sys
import time

from lab import Lab, fail
from measure import busy_ns

RULES = 5000
# `again` is eBPF once more: how far two equal things measure apart.
WAYS = ["explicit", "ebpf", "iptables", "direct", "again"]
THROUGH_PROXY = ["explicit", "ebpf", "iptables"]


def busy_us():
    return busy_ns() / 1000


def summary(values):
    """Median, quartiles, and the 95 % confidence interval of the median (by rank, no assumption on the noise)."""
    ordered = sorted(values)
    last = len(ordered) - 1
    at = lambda q: ordered[round(q * last)]
    half = 0.98 / max(1, len(ordered)) ** .5
    return {"median": round(statistics.median(ordered), 4), "p25": round(at(.25), 4), "p75": round(at(.75), 4),
            "low": round(at(max(0, .5 - half)), 4), "high": round(at(min(1, .5 + half)), 4)}


class Case:
    """What was measured under one set of rules: per way the CPU per connection and the latency, a value a round."""

    def __init__(self, title, place):
        self.title = title
        self.place = place
        self.cpu = {way: [] for way in WAYS}
        self.latency = {way: [] for way in WAYS}
        self.announcing = []
        self.foreign = []

    def measure(self, lab, rounds, count):
        dice = random.Random(len(self.title))
        for _ in range(rounds):
            began, busy, own = time.monotonic(), busy_us(), lab.cpu_us()
            for way in dice.sample(WAYS, len(WAYS)):
                before = lab.cpu_us()
                said = lab.dial("ebpf" if way == "again" else way, self.place, count)
                time.sleep(.003)  # the last connection's ends
                self.cpu[way].append((lab.cpu_us() - before) / count)
                self.latency[way].append(said["p50_us"])
                if way == "explicit":
                    self.announcing.append(said["announcing_us"])
            spent = (time.monotonic() - began) * 1e6
            self.foreign.append(max(0, busy_us() - busy - (lab.cpu_us() - own)) / spent)

    def ratio(self, way, over, of="cpu"):
        values = getattr(self, of)
        return summary([a / b for a, b in zip(values[way], values[over])])

    def difference(self, way, over):
        return summary([a - b for a, b in zip(self.cpu[way], self.cpu[over])])

    def report(self):
        return {
            "case": self.title,
            "place": self.place,
            "cpu_us": {way: summary(self.cpu[way]) for way in WAYS},
            "p50_us": {way: summary(self.latency[way]) for way in WAYS},
            "cpu_over_explicit": {way: self.ratio(way, "explicit") for way in ("ebpf", "iptables")},
            "latency_over_explicit": {way: self.ratio(way, "explicit", "latency") for way in ("ebpf", "iptables")},
            "ebpf_over_iptables": self.ratio("ebpf", "iptables"),
            "noise": self.ratio("again", "ebpf"),
            "more_than_direct_us": {way: self.difference(way, "direct") for way in THROUGH_PROXY},
            "more_than_explicit_us": {way: self.difference(way, "explicit") for way in ("ebpf", "iptables")},
            "announcing_us": round(statistics.median(self.announcing), 2),
            "foreign_processors": {"median": round(statistics.median(self.foreign), 2),
                                   "most": round(max(self.foreign), 2)},
        }


def show(text):
    return f"{text['median']:.3f} [{text['p25']:.3f}-{text['p75']:.3f}], 95 % {text['low']:.3f}-{text['high']:.3f}"


def print_case(report, base, rounds, count):
    print(f"\n{report['case']}: {rounds} rounds of {count} connections, "
          f"foreign load {report['foreign_processors']['median']} processors "
          f"(at most {report['foreign_processors']['most']})")
    print(f"  {'way':10} {'CPU us/conn':>12} {'more than direct':>17} {'p50 us':>8}   CPU over no rules")
    for way in ["direct", *THROUGH_PROXY]:
        more = report["more_than_direct_us"].get(way, {"median": 0})["median"]
        cpu = report["cpu_us"][way]["median"]
        print(f"  {way:10} {cpu:12.1f} {more:17.1f} {report['p50_us'][way]['median']:8.1f}   "
              f"{cpu / base['cpu_us'][way]['median']:.3f}")
    print(f"  eBPF / iptables     {show(report['ebpf_over_iptables'])}")
    print(f"  eBPF / explicit     {show(report['cpu_over_explicit']['ebpf'])}")
    print(f"  iptables / explicit {show(report['cpu_over_explicit']['iptables'])}")
    print(f"  noise, eBPF / eBPF  {show(report['noise'])}")
    print(f"  us more than explicit: eBPF {report['more_than_explicit_us']['ebpf']['median']:.1f}, "
          f"iptables {report['more_than_explicit_us']['iptables']['median']:.1f}; "
          f"explicit's telling the proxy takes {report['announcing_us']:.1f} of its own")


def warm_up(lab):
    """Discovery, sockets, caches; and that each way goes where it should."""
    for way in ["direct", *THROUGH_PROXY]:
        for place in ("near", "far", "meshed"):
            expected = 200 if way in THROUGH_PROXY else 0
            before = lab.accepted()
            lab.dial(way, place, 200)
            took = lab.accepted() - before
            if took != expected:
                fail(f"{way}: {took} of 200 connections went through the proxy, not {expected}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--iptables-backend", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab(os.path.abspath(options.build_dir), ["--workers=1"], [f"--iptables-backend={options.iptables_backend}"])
    reports = []
    try:
        warm_up(lab)
        pods = [lab.pods[p]["netns"] for p in ("ebpf", "iptables", "direct")]
        node = [lab.nodes["one"]["netns"]]
        # The rules in the pods come last: in a case after them iptables measured dearer for a while.
        for title, place, ruled in (("both ends meshed, on two nodes", "meshed", []),
                                    ("the server outside the mesh, on the same node", "near", []),
                                    ("the server outside the mesh, on another node", "far", []),
                                    (f"same node, {RULES} nat rules in the node", "near", node),
                                    (f"same node, {RULES} nat rules in the pods", "near", pods)):
            for netns in ruled:
                lab.rules(netns, RULES)
            case = Case(title, place)
            case.measure(lab, options.rounds, options.count)
            for netns in ruled:
                lab.rules(netns, 0)
            reports.append(case.report())
            if not options.json:
                base = next((each for each in reports if each["place"] == place), reports[-1])
                print_case(reports[-1], base, options.rounds, options.count)
    finally:
        lab.down()
    if options.json:
        print(json.dumps({"rounds": options.rounds, "connections": options.count, "cases": reports}))


if __name__ == "__main__":
    main()
