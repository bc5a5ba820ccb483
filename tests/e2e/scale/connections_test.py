#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ten thousand connections through both proxies, then thousands that rest: nothing corrupt, nothing left behind.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from e2e_lab import PYTHON, Lab, arguments, eventually, fd_count, rss_kib, run_cases, threads_of  # noqa: E402

TRAFFIC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "traffic.py")
PORT = 9000
COUNT = 10_000
IDLE = 5_000
SANITIZED = bool(os.environ.get("ASAN_OPTIONS") or os.environ.get("TSAN_OPTIONS"))
PARALLEL = 50 if SANITIZED else 100
HEAP_SLACK = 4 * 1024 * 1024  # pools and tables are as large as the busiest moment so far asked


def pod(name, node, command, more=""):
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: scale, labels: {{app: {name}}}}}
spec: {{nodeName: {node}, containers: [{{name: app, command: {command}{more}}}]}}
"""


READY = (f', readinessProbe: {{timeoutSeconds: 10, periodSeconds: 1, exec: {{command: [sh, -c, "ss -Hltn | grep -q :{PORT + 1}"]}}}}')

OBJECTS = """apiVersion: v1
kind: Namespace
metadata: {name: scale, annotations: {linkerd.io/inject: enabled}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
""" + pod("client", "n1", "[sleep, infinity]") + pod("server", "n2", f'["{PYTHON}", "{TRAFFIC}", serve, "{PORT}"]', READY) + pod(
    "near", "n1", f'["{PYTHON}", "{TRAFFIC}", serve, "{PORT}"]', READY)


def namespaces():
    return len(subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split())


class Connections:
    def __init__(self, given, objects=OBJECTS, prefix="conns", log_level="info"):
        flags = ["--proxy-flag=--max-connections-per-pod=20000", "--program-log-level", log_level]
        # Sanitizers' run-times make system calls of their own, and keep freed memory to find late uses of it.
        if SANITIZED:
            flags.append("--proxy-flag=--seccomp=false")
        self.lab = Lab(given, objects, prefix, flags)
        self.lab.wait_serving("n1", "n2")
        self.pids = {f"{program} {node}": self.lab.pid(program, node) for program in ("agent", "proxy") for node in ("n1", "n2")}
        self.hosts = {name: self.lab.ip(name) for name in ("server", "near")}
        self.first = 0

    def load(self, host, count, parallel):
        """`count` connections of every kind in two processes."""
        children = []
        for _ in range(2):
            children.append(self.lab.start("client", PYTHON, TRAFFIC, "load", self.hosts[host], str(PORT), str(self.first),
                                           str(count // 2), str(parallel)))
            self.first += count // 2
        return [self.lab.finish(child, 150) for child in children]

    def map_entries(self, node):
        """Entries of all pinned maps of a node that hold something per connection or per pod."""
        done = subprocess.run(["bpftool", "-j", "map", "show"], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            return {}
        out = {}
        folder = f"{self.lab.root}/bpf/{node}"
        for root, _, files in os.walk(folder):
            for name in files:
                if "/maps" not in root:
                    continue
                shown = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{root}/{name}"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True, check=False).stdout
                try:
                    entries = json.loads(shown)
                    out[name] = len(entries) if isinstance(entries, list) else 0
                except json.JSONDecodeError:
                    pass
        return out

    def heap(self, node):
        return next(value for name, _, value in self.lab.metrics(node) if name == "heddle_proxy_heap_allocated_bytes")

    def measure(self):
        return {name: {"fds": fd_count(pid), "rss": rss_kib(pid), "threads": threads_of(pid)} for name, pid in self.pids.items()}

    def open_connections(self):
        return {node: sum(pod["connections"] for pod in self.lab.proxy_state(node)["pods"]) for node in ("n1", "n2")}

    def resting(self):
        """Pooled connections between the proxies stay for minutes: one per worker."""
        return all(count <= 2 * os.cpu_count() for count in self.open_connections().values())

    def fresh_proxies(self):
        """New processes: what an earlier case left in an allocator would hide what this one needs."""
        self.lab.restart("proxy")
        for node in ("n1", "n2"):
            old = self.pids["proxy " + node]
            eventually(f"proxy {old} has drained", lambda old=old: not os.path.exists(f"/proc/{old}"), 30)
            self.pids["proxy " + node] = eventually("the next", lambda node=node: self.lab.pid("proxy", node))
        self.lab.wait_serving("n1", "n2")
        self.expect_fine(self.load("server", 40, 10))

    def rest(self, before):
        """Waits until all is as it was, as far as it is the connections': pools may keep a few."""
        eventually(lambda: f"no connection is left: {self.open_connections()}", self.resting, 20)
        for name, pid in self.pids.items():
            eventually(lambda name=name, pid=pid: f"descriptors of {name}: {fd_count(pid)}, were {before[name]['fds']}",
                       lambda name=name, pid=pid: fd_count(pid) <= before[name]["fds"] + 300, 30)

    def ten_thousand_connections_carry_their_bytes_and_leave_nothing(self):
        warm = self.load("server", 1600, PARALLEL) + self.load("near", 400, PARALLEL)
        self.expect_fine(warm)
        eventually(lambda: f"no connection is left: {self.open_connections()}", self.resting, 20)
        before, spaces = self.measure(), namespaces()
        maps = {node: self.map_entries(node) for node in ("n1", "n2")}
        heaps = {node: self.heap(node) for node in ("n1", "n2")}
        begin = time.monotonic()
        results = self.load("server", COUNT * 4 // 5, PARALLEL) + self.load("near", COUNT // 5, PARALLEL)
        took = time.monotonic() - begin
        print(f"  {sum(result['ok'] for result in results)} connections in {took:.1f} s ({COUNT / took:.0f} per second)")
        self.expect_fine(results)
        self.rest(before)
        after = self.measure()
        for name in self.pids:
            print(f"  {name}: descriptors {before[name]['fds']} to {after[name]['fds']}, RSS {before[name]['rss']} to "
                  f"{after[name]['rss']} KiB, threads {before[name]['threads']} to {after[name]['threads']}")
            if not SANITIZED and after[name]["rss"] > before[name]["rss"] + 24 * 1024:
                raise AssertionError(f"memory of {name} did not come back")
            if after[name]["threads"] > before[name]["threads"] + 4:
                raise AssertionError(f"threads of {name}")
        self.expect_heaps(heaps, before)
        for server in ("server", "near"):
            log = self.container_log(server)
            if "BAD" in log:
                raise AssertionError(f"{server} received what was not sent:\n{log[-2000:]}")
        if namespaces() > spaces:
            print(f"  note: {spaces} network namespaces before, {namespaces()} after (others may have made theirs)")
        self.expect_maps(maps)

    def expect_maps(self, maps):
        """As many entries as there were, but for a few."""
        for node in ("n1", "n2"):
            now = {}

            def settled(node=node, now=now):
                now.update(self.map_entries(node))
                # `connects` is an LRU: what a connection that ended before the proxy saw it leaves there is overwritten or
                # removed by the next one of the same addresses and ports.
                return all(count <= maps[node].get(name, 0) + 16 for name, count in now.items() if name != "connects")
            eventually(lambda node=node, now=now: f"map entries of {node}: {now}, were {maps[node]}", settled, 15, 0.5)
            print(f"  maps of {node}: {now}")

    def expect_heaps(self, heaps, before):
        """Pools and tables that grew do so once: after the same load again there is no more than after the first."""
        if any(self.heap(node) > heap + HEAP_SLACK for node, heap in heaps.items()):
            first = {node: self.heap(node) for node in heaps}
            print(f"  heaps of the proxies: {heaps}, then {first}; the same load again")
            self.expect_fine(self.load("server", COUNT * 4 // 5, PARALLEL) + self.load("near", COUNT // 5, PARALLEL))
            self.rest(before)
            heaps = first
        for node, heap in heaps.items():
            eventually(lambda node=node, heap=heap: f"heap of {node}'s proxy: {self.heap(node):.0f}, was {heap:.0f}",
                       lambda node=node, heap=heap: self.heap(node) <= heap + HEAP_SLACK, 15, 0.5)
            print(f"  heap of {node}'s proxy: {heap:.0f} to {self.heap(node):.0f} bytes")

    def container_log(self, name):
        out = ""
        for file in os.listdir(self.lab.root + "/logs"):
            if name in file and file.endswith("_app.log"):
                with open(f"{self.lab.root}/logs/{file}", encoding="utf-8", errors="replace") as log:
                    out += log.read()
        return out

    def refusals(self):
        """What the proxies themselves counted as gone wrong."""
        return {f"{node} {name} {labels.get('error', labels.get('reason', ''))}": value for node in ("n1", "n2")
                for name, labels, value in self.lab.metrics(node)
                if value and ("error" in name or "refused" in name or "limit" in name)}

    def expect_fine(self, results):
        bad = [result["errors"] for result in results if result["errors"]]
        if bad:
            raise AssertionError(f"not every connection carried its bytes: {json.dumps(bad)}\nproxies: {self.refusals()}\n"
                                 + self.complaints())

    def complaints(self):
        """What the proxies said of connections and of errors, the last of it."""
        said = []
        for node in ("n1", "n2"):
            lines = self.lab.log("proxy", node, 0).splitlines()
            said += [f"{node}: {line}" for line in lines
                     if " warn" in line or " error" in line or "ended" in line or "reset" in line][-40:]
        return "\n".join(said)

    def idle_connections(self, kind):
        proxies = ("proxy n1", "proxy n2")
        self.fresh_proxies()
        before = self.measure()
        stop = f"{self.lab.folder}/idle-stop-{kind}"
        ready = f"{self.lab.folder}/idle-ready-{kind}"
        child = self.lab.start("client", PYTHON, TRAFFIC, "idle", self.hosts["server"], str(PORT + 1), str(IDLE), kind, ready,
                               stop)
        eventually(lambda: f"{IDLE} connections: {self.open_connections()}",
                   lambda: os.path.exists(ready) or child.poll() is not None, 90, 0.2)
        if not os.path.exists(ready):
            raise AssertionError(child.communicate()[0])
        with open(ready, encoding="ascii") as file:
            opened = json.load(file)
        time.sleep(4)  # plaintext connections to the app that a pool keeps end after 3 s
        during = self.measure()
        grown = sum(during[name]["rss"] - before[name]["rss"] for name in proxies)
        each = grown * 1024 / max(1, opened["kept"])
        print(f"  {kind}: {opened['kept']} resting, {each:.0f} bytes each in both proxies together "
              f"({', '.join(str(during[name]['rss'] - before[name]['rss']) + ' KiB' for name in proxies)}); descriptors "
              f"{', '.join(str(during[name]['fds']) for name in proxies)}")
        with open(stop, "w", encoding="ascii"):
            pass
        alive = self.lab.finish(child)["alive"]
        if opened["kept"] != IDLE or alive != IDLE:
            raise AssertionError(f"{opened}, {alive} alive at the end")
        if each >= 8192:
            raise AssertionError(f"{each:.0f} bytes per resting connection")
        self.rest(before)

    def five_thousand_resting_byte_connections_cost_little(self):
        self.idle_connections("bytes")

    def five_thousand_resting_http_connections_cost_little(self):
        self.idle_connections("http")


def main():
    given = arguments(__doc__)
    connections = Connections(given)
    resting = [] if SANITIZED else [connections.five_thousand_resting_byte_connections_cost_little,
                                    connections.five_thousand_resting_http_connections_cost_little]
    run_cases([*resting, connections.ten_thousand_connections_carry_their_bytes_and_leave_nothing], given, connections.lab)


if __name__ == "__main__":
    main()
