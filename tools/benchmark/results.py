# SPDX-License-Identifier: Apache-2.0
"""Runs, what they say together, and tables of it."""
import json
import os
import statistics

from workloads import WORKLOADS


class Store:
    """Runs of this and, with a file, of earlier invocations: rounds may be split over several."""

    def __init__(self, path):
        self.path = path
        self.runs = []
        if path and os.path.exists(path):
            with open(path) as f:
                self.runs = json.load(f)["runs"]

    def next_round(self):
        return 1 + max((run["round"] for run in self.runs), default=-1)

    def add(self, number, run):
        self.runs.append({"round": number, **run})

    def save(self):
        if self.path:
            with open(self.path + ".new", "w") as f:
                json.dump({"runs": self.runs}, f, indent=0)
            os.replace(self.path + ".new", self.path)


def spread(values):
    """Median and the extremes."""
    return {"median": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def by_pair(runs, workload):
    found = {}
    for run in runs:
        if run["workload"] == workload and "failed" not in run:
            found.setdefault(run["pair"], {})[run["round"]] = run
    return found


def median_of(rounds, key):
    values = [run[key] for run in rounds.values() if key in run]
    return statistics.median(values) if values else None


def ratio(of, to, key="cpu_us"):
    """Within the rounds that have both."""
    values = [of[number][key] / to[number][key] for number in of if number in to and to[number].get(key)]
    return spread(values) if values else None


def summarize(runs):
    """One object per workload and pair."""
    summary = []
    for workload in WORKLOADS:
        pairs = by_pair(runs, workload)
        kinds = {name: next(iter(rounds.values()))["kind"] for name, rounds in pairs.items()}
        rivals = [name for name, kind in kinds.items() if kind == "peer"]
        best = min(rivals, key=lambda name: median_of(pairs[name], "cpu_us"), default=None)
        for name, rounds in pairs.items():
            entry = {"workload": workload, "pair": name, "kind": kinds[name], "unit": WORKLOADS[workload].unit,
                     "rounds": len(rounds)}
            for key in ("per_second", "p50_us", "p99_us", "p999_us", "cpu_us", "cpu_us_client", "cpu_us_server",
                        "cpu_us_agent", "foreign"):
                value = median_of(rounds, key)
                if value is not None:
                    entry[key] = round(value, 3)
            entry["cpu_spread"] = spread([run["cpu_us"] for run in rounds.values()])
            entry["errors"] = sum(run.get("errors", 0) for run in rounds.values())
            if best and kinds[name] == "heddle":
                entry["best_peer"] = best
                entry["ratio_to_best_peer"] = ratio(rounds, pairs[best])
            for other in ("heddle", "against", "forwarder"):
                if other in pairs and other != name and kinds[name] != "direct":
                    found = ratio(rounds, pairs[other])
                    if found:
                        entry[f"ratio_to_{other}"] = found
            summary.append(entry)
    return summary


def shown(found):
    return f"{found['median']:.2f} [{found['low']:.2f}-{found['high']:.2f}]" if found else ""


def markdown(summary, runs):
    lines = []
    for workload in WORKLOADS:
        entries = [entry for entry in summary if entry["workload"] == workload]
        if not entries:
            continue
        bulk = WORKLOADS[workload].unit == "GiB"
        lines += ["", f"### {workload}: {WORKLOADS[workload].title}", "",
                  f"| pair | CPU {'ms/GiB' if bulk else 'us/' + WORKLOADS[workload].unit} | client + server | agent | "
                  f"{'GiB/s' if bulk else 'per second'} | p50 us | p99 | p99.9 | to best peer | heddle = 1 | errors |",
                  "|---|---|---|---|---|---|---|---|---|---|---|"]
        for entry in entries:
            scale = 1000 if bulk else 1
            number = lambda key, digits=1: f"{entry[key] / (scale if 'cpu' in key else 1):,.{digits}f}" if key in entry \
                else ""
            latency = [number(key, 0) if entry.get(key) else "" for key in ("p50_us", "p99_us", "p999_us")]
            peer = shown(entry.get("ratio_to_best_peer"))
            lines.append("| " + " | ".join([
                entry["pair"], number("cpu_us"), f"{number('cpu_us_client')} + {number('cpu_us_server')}",
                number("cpu_us_agent"), number("per_second", 2 if bulk else 0), *latency,
                f"{peer} {entry['best_peer']}" if peer else "", shown(entry.get("ratio_to_heddle")),
                str(entry["errors"])]) + " |")
    foreign = [run["foreign"] for run in runs if "foreign" in run]
    if foreign:
        lines += ["", f"{1 + max(run['round'] for run in runs)} rounds. Processors that foreign programs used: median "
                      f"{statistics.median(foreign):.2f}, at most {max(foreign):.2f}."]
    return "\n".join(lines).strip()
