#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real API server answers as the exchanges say that the one for tests (../support/api_server) is checked with.

With --record what the real one answers is written into them: after an exchange was added, or for another Kubernetes.

Exit status: 0 passed, 1 failed.
"""
import glob
import os
import subprocess
import sys

from fixture import SECONDS, arguments, cluster_up

from e2e_lab import eventually, run_cases  # isort: skip

SUPPORT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")
RECORD = "--record" in sys.argv
if RECORD:
    sys.argv.remove("--record")
GIVEN = arguments(__doc__)
CLUSTER = cluster_up()


def obey(order):
    if order == "compact":
        CLUSTER.compact_history()
    elif order == "restart":
        CLUSTER.stop("kube-apiserver")
        CLUSTER.compact_history()
        CLUSTER.start_api_server()
    elif order == "settle":
        eventually("the role binding is in force", lambda: CLUSTER.kubectl(
            "auth", "can-i", "list", "configmaps", "-n", "access", "--as=system:serviceaccount:access:app", check=False).strip() == "yes")


def replay(path):
    keys = CLUSTER.folder + "/pki"
    words = ["env", "PYTHONPATH=" + SUPPORT, "/usr/bin/python3", "-m", "api_server.exchanges", "--server", "10.77.0.1:6443", "--ca", keys + "/ca.crt",
             "--certificate", keys + "/admin.crt", "--key", keys + "/admin.key", *(["--record"] if RECORD else []), path]
    with subprocess.Popen(CLUSTER.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        for line in program.stdout:
            if line.startswith("order "):
                obey(line.split()[1])
                program.stdin.write("\n")
                program.stdin.flush()
            else:
                print("   " + line, end="", flush=True)
        assert program.wait() == 0, "answers are others"


def case(path):
    def replayed():
        replay(path)
    replayed.__name__ = f"exchanges_of_{os.path.basename(path).removesuffix('.json')}_are_as_they_are_written"
    return replayed


if __name__ == "__main__":
    run_cases([case(path) for path in sorted(glob.glob(SUPPORT + "/api_server/exchanges_of_1_20/*.json"))], GIVEN, CLUSTER, SECONDS)
    sys.exit(1)
