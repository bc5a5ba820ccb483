# SPDX-License-Identifier: Apache-2.0
"""What tools/test does once the packages are there. See tools/test --help."""
import argparse
import functools
import os
import re
import shutil
import signal
import sys
import time

import machine
import results
import steps

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUICK = {"debug": steps.debug}
# The cluster comes last, when nothing is compiled any more: upgrades under load must not wait for the processors.
ALL = {"format": steps.formatting, **QUICK, "packages": steps.packages, "asan": steps.asan, "tsan": steps.tsan,
       "fuzz": steps.fuzz, "tidy": steps.tidy, "headers": steps.headers, "cluster": steps.cluster}
WITH_TESTS = ("debug", "cluster", "asan", "tsan", "fuzz")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/test", allow_abbrev=False)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--filter", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--junit", default="")
    parser.add_argument("--build-dir", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", default="", help=argparse.SUPPRESS)  # comma separated, to try the runner itself
    arguments = parser.parse_args()
    try:
        re.compile(arguments.filter)
    except re.error as error:
        parser.error(f"--filter: {error}")
    return arguments


def list_tests(settings, chosen):
    ok, reason = steps.configure(settings, "debug")
    if not ok:
        print(reason, file=sys.stderr)
        return 1
    print("steps: " + " ".join(chosen))
    for name, labels in sorted(steps.tests_of(settings, "debug").items()):
        print(f"{name}  [{', '.join(labels)}]")
    return 0


def run_steps(settings, chosen):
    outcomes = []
    before = machine.cgroup_folders()
    if settings.everything:
        settings.ahead.plan({name: functools.partial(job, settings) for name, job in steps.AHEAD.items() if name in chosen})
    try:
        for step in chosen.values():
            outcomes += step(settings)
    finally:  # on Ctrl-C and on our own mistakes too
        machine.RUNNING.stop()
        settings.ahead.stop()
        left = machine.cgroup_folders() - before
        machine.remove_cgroups(left)
        shutil.rmtree(settings.scratch, ignore_errors=True)
    outcomes.append(results.Outcome("clean-up", "cgroups", results.FAILED if left else results.PASSED, 0,
                                    "left behind (removed): " + ", ".join(sorted(left))))
    return outcomes


def main():
    arguments = parse_arguments()
    chosen = dict(ALL if arguments.all else QUICK)
    if arguments.cluster and not arguments.all:
        chosen = {"cluster": steps.cluster}
    if arguments.steps:
        chosen = {name: ALL[name] for name in arguments.steps.split(",")}
    if arguments.filter:  # steps without tests go by their own names
        chosen = {name: step for name, step in chosen.items() if name in WITH_TESTS or re.search(arguments.filter, name)}
    logs = os.path.join(ROOT, "build", "test-logs")
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    settings = steps.Settings(ROOT, logs, arguments.jobs, arguments.all, arguments.filter,
                              os.path.abspath(arguments.build_dir) if arguments.build_dir else "")
    if arguments.list:
        return list_tests(settings, chosen)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    started = time.monotonic()
    outcomes = run_steps(settings, chosen)
    if arguments.junit:
        results.write_junit(arguments.junit, outcomes)
    if chosen == QUICK and not arguments.filter:
        print("\nNot asked for: the tests on a real Kubernetes (tools/test --cluster); everything is tools/test --all")
    return results.print_outcomes(outcomes, arguments.all or arguments.cluster, time.monotonic() - started)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ntools/test: interrupted; what the tests had made is removed", file=sys.stderr)
        sys.exit(130)
