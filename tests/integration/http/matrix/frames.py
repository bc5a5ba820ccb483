# SPDX-License-Identifier: Apache-2.0
"""Checks what HTTP/2's frames and switches of protocols do through heddle: a conversation as run.py has."""

import sys

import h2_frames
import run
import sockets


def have_drained(way):
    print(f"drain {way}", flush=True)
    sys.stdin.readline()


def main():
    parts = {"frames": (h2_frames.Checks(), 2), "sockets": (sockets.Checks(), 1)}
    for name, (checks, version) in parts.items():
        print(f"{name} http{version} {checks.server.address[1]}")
    ways, _ = run.read_ways()
    for (way, name), address in ways.items():
        if name in parts:
            print(f"{way} {parts[name][0].run(way, address)} checks of {name}")
    for (way, name), address in ways.items():
        if name == "frames":
            parts[name][0].drain(way, address, lambda way=way: have_drained(way))
    problems = [each for checks, _ in parts.values() for each in checks.problems] + parts["sockets"][0].server.trouble
    for each in problems:
        print(each)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
