# SPDX-License-Identifier: Apache-2.0
"""What the cluster tests share: their arguments, a cluster that is taken down whatever happens, and reading streams."""
import argparse
import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from testbed import Cluster, TestbedError  # noqa: E402

SECONDS = 240  # for all cases of one program


def arguments(description, **numbers):
    """--bin-dir, names of cases, and a flag for each of `numbers`: NAME=(DEFAULT, HELP)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin-dir", required=True, help="of heddle's programs")
    for name, (default, text) in numbers.items():
        parser.add_argument("--" + name, type=int, default=default, help=f"{text} (default: {default})")
    parser.add_argument("tests", nargs="*", help="names of cases (default: all)")
    given = parser.parse_args()
    given.bin_dir = os.path.abspath(given.bin_dir)
    return given


def cluster_up(nodes=1, cni="early", family="ipv4"):
    """Where it cannot be had the test has failed: a cluster test that is asked for is never skipped."""
    cluster = Cluster(os.path.join(tempfile.mkdtemp(prefix="heddle-cluster-"), "cluster"), family=family)

    def down():
        cluster.down()
        if os.path.isdir(os.path.dirname(cluster.folder)) and not os.environ.get("HEDDLE_CLUSTER_KEEP"):
            os.rmdir(os.path.dirname(cluster.folder))

    def ended_early(number, _frame):
        print(f"FAILED: ended by signal {number}", flush=True)
        cluster.show_logs()
        down()
        os._exit(1)

    atexit.register(down)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, ended_early)
    began = time.monotonic()
    try:
        cluster.up(nodes, cni)
    except TestbedError as error:
        sys.exit(f"FAILED cluster up: {error}")
    print(f"a cluster of {nodes} is up ({time.monotonic() - began:.1f} s)", flush=True)
    return cluster


class Lines:
    """The lines of a process that runs on, each with the time at which it was read."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, bufsize=1)
        self.seen = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        atexit.register(self.process.kill)

    def _read(self):
        for line in self.process.stdout:
            self.seen.append((time.monotonic(), line.rstrip("\n")))

    def last(self):
        return self.seen[-1][1] if self.seen else ""

    def first_after(self, moment, wanted):
        """When `wanted(line)` became true and stayed so until now; None if it is not."""
        since = None
        for at, line in list(self.seen):
            if not wanted(line):
                since = None
            elif since is None:
                since = max(at, moment)
        return since

    def end(self):
        self.process.kill()
        self.process.wait()
