#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/bench --traffic measures what it says, adds rounds up, and leaves nothing behind.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import argparse
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, "..", "..", "..", "tools")
sys.path.insert(0, os.path.join(TOOLS, "benchmark"))
import results  # noqa: E402

PAIRS = ["direct", "heddle", "heddle-same-node", "forwarder"]
WORKLOADS = ["h1_rate", "conn_tcp", "tcp_ping64"]


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def command(build, *arguments):
    return [os.path.join(TOOLS, "bench"), "--traffic", "--build-dir", build, *arguments]


def a_ratio_is_taken_within_rounds_against_the_peer_that_needs_least(_build):
    cpu = {"heddle": [10, 30], "nghttpx": [20, 60], "nginx-http": [50, 50], "forwarder": [1, 1]}
    kinds = {"heddle": "heddle", "forwarder": "floor"}
    runs = [{"round": number, "pair": pair, "kind": kinds.get(pair, "peer"), "workload": "h1_c16", "cpu_us": values[number],
             "p50_us": 1} for pair, values in cpu.items() for number in (0, 1)]
    runs.append({"round": 2, "pair": "heddle", "workload": "h1_c16", "failed": "it did"})
    heddle = next(each for each in results.summarize(runs, list(cpu)) if each["pair"] == "heddle")
    check(heddle["best_peer"] == "nghttpx", heddle)
    check(heddle["ratio_to_best_peer"] == {"median": .5, "low": .5, "high": .5}, heddle)
    check(heddle["rounds"] == 2, heddle)


def measure(build, kept, *arguments):
    """(workload, pair) -> what is reported of it."""
    done = subprocess.run(command(build, "--rounds", "1", "--seconds", "0.2", "--results", kept, "--json", *arguments),
                          capture_output=True, text=True, timeout=100)
    check(done.returncode == 0, done.stderr)
    return {(each["workload"], each["pair"]): each for each in json.loads(done.stdout)["results"]}


def every_pair_is_measured_and_a_second_invocation_adds_its_round(build):
    with tempfile.TemporaryDirectory() as folder:
        kept = os.path.join(folder, "runs.json")
        picture = os.path.join(folder, "ratios.svg")
        found = measure(build, kept, "--pair", ",".join(PAIRS), "--workload", ",".join(WORKLOADS), "--picture", picture)
        check(set(found) == {(workload, pair) for workload in WORKLOADS for pair in PAIRS}, found)
        for (workload, pair), each in found.items():
            check(each["rounds"] == 1 and each["errors"] == 0 and each["per_second"] > 0, each)
            check(("cpu_us" in each) == (pair != "direct"), each)
            check(pair == "direct" or each["cpu_us"] > 0, each)
            check(pair != "heddle" or each["ratio_to_forwarder"]["median"] > 0, each)
            # As fast as possible would be several times more, and is never so slow.
            check(workload != "h1_rate" or pair != "direct" or each["per_second"] < 4000, each)
        with open(picture) as f:
            check(f.read().startswith("<svg"), "no picture")
        found = measure(build, kept, "--pair", "heddle", "--workload", "h1_rate")
        check(found["h1_rate", "heddle"]["rounds"] == 2, found["h1_rate", "heddle"])
        check(found["h1_rate", "forwarder"]["rounds"] == 1, found["h1_rate", "forwarder"])
    nothing_is_left()


def it_takes_its_lab_down_when_it_is_ended(build):
    running = subprocess.Popen(command(build, "--pair", "heddle,forwarder", "--workload", "h1_rate", "--seconds", "60"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = running.stderr.readline()
        check("2 pairs are up" in said, said)
        check(glob.glob(f"/run/heddle-lab/bench-{running.pid}"), "no lab is up")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=40)
    finally:
        running.kill()
        running.wait()
    check(running.returncode == 143, running.returncode)
    nothing_is_left()


def nothing_is_left():
    left = glob.glob("/run/heddle-lab/bench-*") + glob.glob(os.path.join(tempfile.gettempdir(), "heddle-bench-*"))
    for process in glob.glob("/proc/[0-9]*/exe"):
        try:
            if os.path.basename(os.readlink(process)) in ("heddle-forwarder", "heddle-traffic"):
                left.append(process)
        except OSError:
            pass
    check(not left, f"left behind: {left}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True)
    build = os.path.abspath(parser.parse_args().build_dir)
    if os.geteuid() != 0:
        print("SKIP: needs root")
        sys.exit(77)
    for case in (a_ratio_is_taken_within_rounds_against_the_peer_that_needs_least,
                 every_pair_is_measured_and_a_second_invocation_adds_its_round, it_takes_its_lab_down_when_it_is_ended):
        began = time.monotonic()
        try:
            case(build)
        except AssertionError as error:
            print(f"FAILED {case.__name__}: {error}")
            sys.exit(1)
        print(f"ok {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
