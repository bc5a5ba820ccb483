#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed traffic through two nodes for as long as it is told, while pods come and go: all of it arrives, the processes stay
the same and say nothing of sanitizers', memory is flat after the first third, and nothing is left behind.

    sudo /usr/bin/python3 tests/e2e/scale/soak_test.py --bin-dir build/release/bin --minutes 30

With sanitizers' programs ASAN_OPTIONS or TSAN_OPTIONS has to be set: docs/testing.md.
Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import collections
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from connections_test import OBJECTS, PORT, SANITIZED, Connections, pod  # noqa: E402
from e2e_lab import PYTHON, arguments, eventually, fd_count, run_cases, skip  # noqa: E402

try:
    import grpc  # noqa: F401
    import h2  # noqa: F401
except ImportError as error:
    skip(f"needs Debian's Python with its packages: {error}")

MIXED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mixed_traffic.py")
PARALLEL = 13  # has no factor in common with the number of kinds, so that each worker does all of them
KINDS = {"bytes", "http1", "slow http1", "upgrade", "http2", "grpc"}
REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")
# KiB that a process may grow after the first third. What sanitizers keep of freed memory grows for long.
GROWTH = 96 * 1024 if SANITIZED else 16 * 1024

Sample = collections.namedtuple("Sample", "seconds rss fds")


def slope(samples):
    """KiB per second, by least squares."""
    seconds = sum(each.seconds for each in samples) / len(samples)
    mean = sum(each.rss for each in samples) / len(samples)
    spread = sum((each.seconds - seconds) ** 2 for each in samples)
    return sum((each.seconds - seconds) * (each.rss - mean) for each in samples) / max(spread, 1e-9)


class Soak(Connections):
    def __init__(self, given):
        # At this level the proxies say of each connection that they reset why.
        super().__init__(given, OBJECTS.replace("traffic.py", "mixed_traffic.py"), "soak", "debug")
        self.seconds = given.minutes * 60
        self.rate = given.rate
        self.pids["control"] = self.lab.pid("control")
        self.samples = {name: [] for name in self.pids}
        self.begin = 0.0

    def resting(self):
        """Pooled connections between the proxies, of every worker to every port."""
        return all(count <= 2 * len(KINDS) * os.cpu_count() for count in self.open_connections().values())

    def begin_load(self, client, rate):
        """What began, and the file that ends it."""
        self.first += 1_000_000
        stop = f"{self.lab.folder}/stop-{self.first}"
        hosts = ",".join(self.hosts.values())
        return self.lab.start(client, PYTHON, MIXED, "load", hosts, str(PORT), str(self.first), str(PARALLEL), str(rate), stop), stop

    def end_load(self, load):
        child, stop = load
        with open(stop, "w", encoding="ascii"):
            pass
        result = self.lab.finish(child, 90)
        self.expect_fine([result])
        return result["done"]

    def sample(self):
        for name, measured in self.measure().items():
            self.samples[name].append(Sample(time.monotonic() - self.begin, measured["rss"], measured["fds"]))

    def guest(self, number):
        """A pod that comes, talks to both servers and goes."""
        name, node = f"guest-{number}", ("n1", "n2")[number % 2]
        path = f"{self.lab.folder}/{name}.yaml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(pod(name, node, "[sleep, infinity]"))
        self.lab.command("apply", path)
        eventually(f"{node} serves {name}", lambda: self.lab.serving(node), 30)
        load = self.begin_load(name, 10)
        self.pause(3)
        done = self.end_load(load)
        self.lab.command("delete", "Pod", f"scale/{name}")
        os.unlink(path)
        return sum(done.values())

    def pause(self, seconds):
        """Lets time pass, which this test is made of, and takes samples."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sample()
            time.sleep(min(left, max(0.5, self.seconds / 600)))

    def mixed_traffic_leaves_memory_flat_and_nothing_behind(self):
        warm = self.begin_load("client", self.rate)
        self.pause(3)
        self.end_load(warm)
        eventually(lambda: f"no connection is left: {self.open_connections()}", self.resting, 30)
        before = self.measure()
        maps = {node: self.map_entries(node) for node in ("n1", "n2")}
        self.begin = time.monotonic()
        for samples in self.samples.values():
            samples.clear()
        load, guests, guests_done = self.begin_load("client", self.rate), 0, 0
        while time.monotonic() - self.begin < self.seconds:
            guests_done += self.guest(guests)
            guests += 1
            self.pause(min(10, self.seconds / 20))
            if load[0].poll() is not None:
                break  # and what it says is in the failure
        done = self.end_load(load)
        print(f"  exchanges: {done}; {guests} pods came and went, with {guests_done}")
        self.expect_the_same_processes()
        self.rest(before)
        self.expect_flat_memory()
        self.expect_maps(maps)
        for server in self.hosts:
            if "BAD" in (log := self.container_log(server)):
                raise AssertionError(f"{server} received what was not sent:\n{log[-2000:]}")
        if set(done) != KINDS:
            raise AssertionError(f"a kind of exchange did not happen: {done}")

    def expect_the_same_processes(self):
        for name, pid in self.pids.items():
            program, _, node = name.partition(" ")
            if self.lab.pid(program, node) != pid:
                raise AssertionError(f"{name} is not the process that it was:\n{self.lab.log(program, node)}")
            if REPORT.search(log := self.lab.log(program, node, 0)):
                raise AssertionError(f"{name}: a sanitizer has found something:\n{log[-8000:]}")

    def expect_flat_memory(self):
        growing = []
        for name, samples in self.samples.items():
            late = [each for each in samples if each.seconds > samples[-1].seconds / 3]
            early = [each for each in samples if each not in late] or samples[:1]
            per_second = slope(late)
            grown = per_second * (late[-1].seconds - late[0].seconds)
            most_early, most_late = max(each.rss for each in early), max(each.rss for each in late)
            print(f"  {name}: RSS {samples[0].rss} KiB at first, at most {most_early} in the first third, {most_late} afterwards, "
                  f"{per_second * 3600:+.0f} KiB an hour; descriptors {samples[0].fds}, at most {max(each.fds for each in samples)}, "
                  f"now {fd_count(self.pids[name])}")
            if grown > GROWTH or most_late > most_early + GROWTH:
                growing.append(f"{name} by {grown:.0f} KiB, to {most_late} KiB")
        if growing:
            raise AssertionError("memory grows: " + "; ".join(growing))


def main():
    given = arguments(__doc__, {"--minutes": {"type": float, "default": 1 / 3, "help": "how long (20 seconds)"},
                                "--rate": {"type": int, "default": 40, "help": "exchanges per second (40)"}})
    soak = Soak(given)
    run_cases([soak.mixed_traffic_leaves_memory_flat_and_nothing_behind], given, soak.lab, int(soak.seconds) + 170)


if __name__ == "__main__":
    main()
