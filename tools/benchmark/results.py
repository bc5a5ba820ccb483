# SPDX-License-Identifier: Apache-2.0
"""Runs, what they say together, and tables of it."""
import json
import os
import statistics

from memory import IDLE, NO_POD
from workloads import CALM, WORKLOADS

FIGURES = ("per_second", "p50_us", "p99_us", "p999_us", "cpu_us", "cpu_us_client", "cpu_us_server", "cpu_us_agent",
           "foreign", "kib_per_connection", "kib_per_connection_client", "kib_per_connection_server", "pss_mib_client",
           "pss_mib_server", "proxy_rss_mib", "proxy_pss_mib", "agent_rss_mib", "agent_pss_mib")


class Store:
    """Runs of this and, with a file, of earlier invocations: rounds may be split over several."""

    def __init__(self, path):
        self.path = path
        self.runs = []
        if path and os.path.exists(path):
            with open(path) as f:
                self.runs = json.load(f)["runs"]
        self.first_round = 1 + max((run["round"] for run in self.runs), default=-1)
        self.round = self.first_round

    def add(self, run):
        self.runs.append({"round": self.round, **run})

    def save(self):
        if self.path:
            with open(self.path + ".new", "w") as f:
                json.dump({"runs": self.runs}, f, indent=0)
            os.replace(self.path + ".new", self.path)


def spread(values):
    """Median and the extremes."""
    return {"median": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def by_pair(runs, order):
    """Pair -> round -> run, pairs in their order."""
    found = {}
    for run in runs:
        found.setdefault(run["pair"], {})[run["round"]] = run
    return {name: found[name] for name in order if name in found}


def median_of(rounds, key):
    values = [run[key] for run in rounds.values() if key in run]
    return statistics.median(values) if values else None


def ratio(of, to, key="cpu_us"):
    """Within the rounds that have both."""
    values = [of[number][key] / to[number][key] for number in of
              if number in to and key in of[number] and to[number].get(key)]
    return spread(values) if values else None


def ratios(name, pairs, best, alone):
    """Everything that a pair is compared to. `alone` are its runs without what this workload adds to them."""
    rounds = pairs[name]
    found = {}
    for label, other in (("best_peer", best), ("heddle", "heddle"), ("against", "against"), ("forwarder", "forwarder")):
        if other in pairs and (other != name or label == "best_peer"):
            found[f"ratio_to_{label}"] = ratio(rounds, pairs[other])
            found[f"p50_ratio_to_{label}"] = ratio(rounds, pairs[other], "p50_us")
    for key in ("p50", "p99"):
        found[f"{key}_ratio_to_alone"] = ratio(rounds, alone, f"{key}_us") if alone else None
    return {key: value for key, value in found.items() if value}


def summarize_group(workload, pairs, alone):
    """One object per pair."""
    kinds = {name: next(iter(rounds.values()))["kind"] for name, rounds in pairs.items()}
    price = lambda name: median_of(pairs[name], "kib_per_connection" if workload in IDLE else "cpu_us")
    best = min((name for name, kind in kinds.items() if kind == "peer" and price(name)), key=price, default=None)
    for name, rounds in pairs.items():
        first = next(iter(rounds.values()))
        entry = {"workload": workload, "pair": name, "kind": kinds[name], "rounds": len(rounds)}
        if workload in WORKLOADS:
            entry["unit"] = WORKLOADS[workload].unit
        if "connections" in first:
            entry["connections"] = first["connections"]
        entry |= {key: round(median_of(rounds, key), 3) for key in FIGURES if median_of(rounds, key) is not None}
        entry["errors"] = sum(run.get("errors", 0) for run in rounds.values())
        if best:
            entry["best_peer"] = best
        yield entry | ratios(name, pairs, best, alone.get(name))


def summarize(runs, order):
    """One object per workload and pair, for idle connections also per number of them."""
    summary = []
    good = [run for run in runs if "failed" not in run]
    measured = [run for run in good if "syscalls" not in run]
    for workload in [*WORKLOADS, NO_POD, *IDLE]:
        own = [run for run in measured if run["workload"] == workload]
        flood = workload in WORKLOADS and WORKLOADS[workload].flood
        alone = by_pair([run for run in measured if run["workload"] == CALM], order) if flood else {}
        for count in sorted({run.get("connections", 0) for run in own}):
            pairs = by_pair([run for run in own if run.get("connections", 0) == count], order)
            summary += summarize_group(workload, pairs, alone)
    for entry in summary:
        calls = [run["syscalls"] for run in good if "syscalls" in run
                 and (run["workload"], run["pair"]) == (entry["workload"], entry["pair"])]
        if calls:
            entry["syscalls"] = calls[-1]
    return summary


def shown(found):
    return f"{found['median']:.2f} [{found['low']:.2f}-{found['high']:.2f}]" if found else ""


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows]


def number(entry, key, digits=1, scale=1):
    return f"{entry[key] / scale:,.{digits}f}" if key in entry else ""


def ratio_table(summary):
    """What counts, in one table."""
    rows = []
    for workload in WORKLOADS:
        of = {entry["pair"]: entry for entry in summary if entry["workload"] == workload and "cpu_us" in entry}
        if "heddle" not in of:
            continue
        to_heddle = lambda name: shown(of.get(name, {}).get("ratio_to_heddle"))
        best = of["heddle"].get("best_peer", "")
        rows.append([workload, str(of["heddle"]["rounds"]), f"{shown(of['heddle'].get('ratio_to_best_peer'))}", best,
                     to_heddle("heddle-again"), to_heddle("heddle-same-node"), to_heddle("heddle-iptables"),
                     shown(of["heddle"].get("ratio_to_forwarder"))])
    if not rows:
        return []
    return ["CPU per request, medians of the ratios within rounds [lowest-highest]:", ""] + table(
        ["workload", "rounds", "heddle / best peer", "best peer", "noise: heddle / heddle", "same node / two nodes",
         "iptables / eBPF", "heddle / forwarder"], rows)


def price_table(summary, order):
    """Everybody's CPU, to see at once."""
    priced = [entry for entry in summary if "cpu_us" in entry]
    present = {entry["pair"] for entry in priced}
    names = [name for name in order if name in present]
    if len(names) < 2:
        return []
    rows = []
    for workload in WORKLOADS:
        of = {entry["pair"]: entry for entry in priced if entry["workload"] == workload}
        if of:
            scale = 1000 if WORKLOADS[workload].unit == "GiB" else 1
            rows.append([workload, *[number(of.get(name, {}), "cpu_us", 1, scale) for name in names]])
    return ["", "CPU of both proxies, us per request or connection (bulk: ms per GiB), medians:", ""] + table(
        ["", *names], rows)


def calm_latency(summary):
    """How long a request takes at a rate that nobody has trouble with."""
    calm = next((entry for entry in summary if (entry["workload"], entry["pair"]) == (CALM, "heddle")), {})
    ratios_shown = [f"heddle / {calm['best_peer'] if to == 'best_peer' else to} {shown(calm[f'p50_ratio_to_{to}'])}"
                    for to in ("best_peer", "forwarder") if f"p50_ratio_to_{to}" in calm]
    return ["", f"p50 of {CALM}: {', '.join(ratios_shown)}"] if ratios_shown else []


def load_table(workload, entries):
    bulk = WORKLOADS[workload].unit == "GiB"
    scale = 1000 if bulk else 1
    rows = []
    for entry in entries:
        flood = [shown(entry.get("p99_ratio_to_alone"))] if WORKLOADS[workload].flood else []
        sides = [number(entry, f"cpu_us_{side}", 1, scale) for side in ("client", "server")]
        rows.append([entry["pair"], number(entry, "cpu_us", 1, scale), " + ".join(side for side in sides if side),
                     number(entry, "cpu_us_agent", 1, scale), number(entry, "per_second", 2 if bulk else 0),
                     *[number(entry, key, 0) if entry.get(key) else "" for key in ("p50_us", "p99_us", "p999_us")],
                     shown(entry.get("ratio_to_best_peer")), shown(entry.get("ratio_to_heddle")),
                     str(entry.get("syscalls", {}).get("all", "")), str(entry["errors"]), *flood])
    return ["", f"### {workload}: {WORKLOADS[workload].title}", ""] + table(
        ["pair", f"CPU {'ms/GiB' if bulk else 'us/' + WORKLOADS[workload].unit}", "client + server", "agent",
         "GiB/s" if bulk else "per second", "p50 us", "p99", "p99.9", "to best peer", "to heddle", "system calls",
         "errors", *(["p99 / alone"] if WORKLOADS[workload].flood else [])], rows)


def idle_tables(summary):
    lines = []
    for workload in IDLE:
        rows = [[entry["pair"], str(entry["connections"]), number(entry, "kib_per_connection", 2),
                 f"{number(entry, 'kib_per_connection_client', 2)} + {number(entry, 'kib_per_connection_server', 2)}",
                 f"{number(entry, 'pss_mib_client')} + {number(entry, 'pss_mib_server')}"]
                for entry in summary if entry["workload"] == workload]
        if rows:
            lines += ["", f"### {workload}: {IDLE[workload][2]}", ""] + table(
                ["pair", "connections", "KiB each, both proxies", "client + server", "MiB in all (PSS)"], rows)
    rows = [[entry["pair"], *[number(entry, f"{program}_{kind}_mib") for program in ("proxy", "agent")
                              for kind in ("rss", "pss")]] for entry in summary if entry["workload"] == NO_POD]
    if rows:
        lines += ["", f"### {NO_POD}: a node without pods, MiB", ""] + table(
            ["", "proxy RSS", "proxy PSS", "agent RSS", "agent PSS"], rows)
    return lines


def markdown(summary, order):
    lines = ratio_table(summary) + calm_latency(summary) + price_table(summary, order)
    for workload in WORKLOADS:
        entries = [entry for entry in summary if entry["workload"] == workload]
        if entries:
            lines += load_table(workload, entries)
    lines += idle_tables(summary)
    foreign = [entry["foreign"] for entry in summary if "foreign" in entry]
    if foreign:
        lines += ["", f"Processors that foreign programs used: median {statistics.median(foreign):.2f}, at most "
                      f"{max(foreign):.2f} (medians of the workloads and pairs)."]
    return "\n".join(lines).strip()
