#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The API server for tests answers as a real one does: the exchanges that ../../cluster/exchanges_test.py recorded.

Exit status: 0 passed, 1 failed.
"""
import concurrent.futures
import glob
import os
import subprocess

from fixture import SUPPORT, run
from api_server.running import PYTHON, ApiServer  # isort: skip


def obey(server, order):
    if order in ("compact", "restart"):
        server.order("compact")


def replay(path):
    """(exit status, what was said): what differs, and a count."""
    server = ApiServer("1.20")
    words = [PYTHON, "-m", "api_server.exchanges", "--server", f"127.0.0.1:{server.port}", "--ca", server.file("ca.crt"),
             "--certificate", server.file("admin.crt"), "--key", server.file("admin.key"), path]
    said = []
    try:
        with subprocess.Popen(words, cwd=SUPPORT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            for line in program.stdout:
                if line.startswith("order "):
                    obey(server, line.split()[1])
                    program.stdin.write("\n")
                    program.stdin.flush()
                else:
                    said.append("   " + line)
        return program.returncode, "".join(said)
    finally:
        server.end()


def case(path, begun):
    def replayed():
        status, said = begun.result()
        print(said, end="", flush=True)
        assert status == 0, "answers are others"
    replayed.__name__ = f"exchanges_of_{os.path.basename(path).removesuffix('.json')}_are_answered_as_by_a_real_server"
    return replayed


if __name__ == "__main__":
    # Mostly they wait: for watches to end, for a revision that does not come.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        FILES = sorted(glob.glob(SUPPORT + "/api_server/exchanges_of_1_20/*.json"))
        run(__doc__, [case(path, pool.submit(replay, path)) for path in FILES])
