#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod that floods beside one that does not, in a lab of two nodes.

Each node is a processor: its pods and its proxy run there and nowhere else, so that no proxy waits for the other one's
time. The good pod and its server go before everything (SCHED_FIFO), then the proxies, then the flood's programs: so that
what is measured is what the proxies let the flood take, not what its programs take by themselves. In each round the good pod asks alone, alone once more (how far two equal things measure apart), and beside the
flood; a pair outside the mesh asks as the good one does, beside the flood and alone: what that loses no proxy has taken.
What counts are ratios of 99th percentiles within rounds.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

from lab import OBJECTS, Topology, fail
from measure import cpu_ns

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = os.path.join(HERE, "fairness_load.py")
KINDS = ("connections", "requests", "streams", "headers", "slow", "resets")
HTTP1, HTTP2 = 8000, 8001
PYTHON = os.path.realpath(sys.executable)
# The kernel weighs sessions before processes while this is on, for processes that start meanwhile.
AUTOGROUP = "/proc/sys/kernel/sched_autogroup_enabled"
FIRST, SECOND, THIRD = ["chrt", "-f", "10"], ["chrt", "-f", "5"], ["nice", "-n", "-20"]

CONF = """daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 16000; }}
http {{
  access_log off; client_body_temp_path {folder}/nginx.b; keepalive_requests 1000000000; large_client_header_buffers 8 64k;
  server {{ listen 0.0.0.0:{http1} backlog=4096; location / {{ return 200 "ok\\n"; }} location /large {{ alias {folder}/large; }} }}
  server {{ listen 0.0.0.0:{http2} http2 backlog=4096; location / {{ return 200 "ok\\n"; }} }}
}}
"""

POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: bench, annotations: {{{annotations}}}}}
spec:
  nodeName: {node}
  containers:
    - {{name: app, command: {command}}}
"""
INSIDE, OUTSIDE = "linkerd.io/inject: enabled", "linkerd.io/inject: disabled"


class Lab(Topology):
    def __init__(self, given):
        self.traffic = os.path.join(os.path.abspath(given.build_dir), "bench", "heddle-traffic")
        self.cpus = dict(zip(("one", "two"), sorted(os.sched_getaffinity(0))))
        if len(self.cpus) < 2:
            fail("needs two processors, one for each node")
        self.given = given
        bin_dir = os.path.abspath(given.bin_dir or os.path.join(given.build_dir, "bin"))
        super().__init__(bin_dir, "", f"bench-{os.getpid()}-fair", ["--workers=1", *given.proxy_flag])
        try:
            self.arrange()
        except BaseException:
            self.down()
            raise

    def up(self, bin_dir, objects, proxy_flags, agent_flags):
        os.chmod(self.folder, 0o755)
        with open(os.path.join(self.folder, "large"), "wb") as f:
            f.truncate(64 * 1024 * 1024)
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as f:
            f.write(CONF.format(folder=self.folder, http1=HTTP1, http2=HTTP2))
        serve = [self.traffic, "serve", "--http1", f"0.0.0.0:{HTTP1}", "--http2", f"0.0.0.0:{HTTP2}", "--bytes", "0.0.0.0:8002"]
        idle = ["sleep", "infinity"]
        flooding = ", ".join(part for part in (INSIDE, self.given.annotations) if part)
        for name, node, annotations, command in (
                ("good", "one", INSIDE, idle), ("good-server", "two", INSIDE, serve),
                ("outside", "one", OUTSIDE, idle), ("outside-server", "two", OUTSIDE, serve), ("flood", "one", flooding, idle),
                ("flood-server", "two", INSIDE, [shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-c", conf])):
            objects += POD.format(name=name, node=node, annotations=annotations, command=json.dumps(command))
        super().up(bin_dir, OBJECTS + objects, proxy_flags, agent_flags)

    def arrange(self):
        """Who runs where, and before whom."""
        for node, cpu in self.cpus.items():
            for pid in self.programs("proxy", node) + self.programs("agent", node):
                for task in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(task), {cpu})
            for pid in self.programs("proxy", node):
                subprocess.run([*SECOND[:2], "-a", "-p", SECOND[2], str(pid)], check=True)
        for name in ("good-server", "outside-server", "flood-server"):
            for container in self.pods[name]["containers"]:
                pid = str(container["pid"])
                subprocess.run(["taskset", "-apc", str(self.cpus["two"]), pid], check=True, capture_output=True)
                if name == "flood-server":
                    os.setpriority(os.PRIO_PROCESS, container["pid"], -20)
                else:
                    subprocess.run([*FIRST[:2], "-p", FIRST[2], pid], check=True)

    def run(self, pod, how, *command):
        command = [self.heddle, "lab", "exec", "--name", self.name, f"bench/{pod}", "--", "taskset", "-c",
                   str(self.cpus["one"]), *how, *command]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def ask(self, pod):
        """What the pod's client finds, which asks its server for so many seconds."""
        client = self.run(pod, FIRST, self.traffic, "http1", f"{self.address(pod + '-server')}:{HTTP1}",
                          f"--connections={self.given.connections}", f"--rate={self.given.rate}",
                          f"--seconds={self.given.seconds}")
        said, _ = client.communicate(timeout=self.given.seconds + 60)
        if client.returncode != 0:
            fail(f"the client of {pod} ended with {client.returncode}")
        return json.loads(said)

    def flood(self, kind, seconds):
        port = HTTP2 if kind == "streams" else HTTP1
        return self.run("flood", THIRD, PYTHON, LOAD, kind, f"{self.address('flood-server')}:{port}", str(seconds))

    def metrics(self, node):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(f"{self.nodes[node]['runDir']}/proxy/admin.sock")
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(("heddle_pod_limited_total", "process_resident_memory_bytes"))}

    def memory(self):
        return max(self.metrics(node)["process_resident_memory_bytes"] for node in self.nodes)

    def busy(self):
        """Nanoseconds that the proxies have worked so far, by node."""
        return {node: cpu_ns(self.programs("proxy", node)) for node in self.nodes}

    def limited(self):
        """Who was limited, by metric line."""
        return {line: int(value) for node in self.nodes for line, value in self.metrics(node).items()
                if line.startswith("heddle_pod_limited_total") and value}


def one_round(lab, kind):
    """Runs by name, the most memory a proxy had beside the flood, and how much of their processor proxies used."""
    runs = {"alone": lab.ask("good"), "again": lab.ask("good")}
    asked = lab.given.seconds + 1  # with what its client does before
    flood = lab.flood(kind, 6 + 2 * asked)  # it must not end before the last of them does
    time.sleep(1)  # it begins
    before, began = lab.busy(), time.monotonic_ns()
    runs["beside"] = lab.ask("good")
    took = time.monotonic_ns() - began
    busy = {node: (used - before[node]) / took for node, used in lab.busy().items()}
    memory = lab.memory()
    runs["outside_beside"] = lab.ask("outside")
    if flood.poll() is not None:
        print(f"tools/bench: the flood of {kind} ended before the measurement did", file=sys.stderr)
    flood.wait()
    time.sleep(.5)  # its last connections end
    runs["outside_alone"] = lab.ask("outside")
    return runs, memory, busy


def measure(lab, kind):
    rounds = [one_round(lab, kind) for _ in range(lab.given.rounds)]
    runs = [each for each, _, _ in rounds]

    def ratio(name, *of):
        values = sorted(run[name]["p99_us"] / statistics.mean(run[each]["p99_us"] for each in of) for run in runs)
        return {"median": round(statistics.median(values), 3), "least": round(values[0], 3), "most": round(values[-1], 3)}

    def median(name, what):
        return statistics.median(run[name][what] for run in runs)

    good = ("alone", "again", "beside")
    return {"flood": kind, "p99_ratio": ratio("beside", "alone", "again"), "again_ratio": ratio("again", "alone"),
            "outside_ratio": ratio("outside_beside", "outside_alone"),
            **{f"{name}_{what}": median(name, what) for name in (*good, "outside_alone", "outside_beside")
               for what in ("p50_us", "p99_us", "p999_us")},
            "requests": sum(run["beside"]["requests"] for run in runs),
            "failed": sum(run["beside"]["errors"] for run in runs),
            "errors": [run["beside"]["error"] for run in runs if run["beside"]["error"]][:3],
            "most_resident_mib": round(max(memory for _, memory, _ in rounds) / 2**20, 1),
            "busy": {node: round(statistics.median(busy[node] for _, _, busy in rounds), 2) for node in lab.nodes}}


def show(found):
    spread = lambda each: "{median:.2f} [{least:.2f}-{most:.2f}]".format(**found[each])
    print(f"{found['flood']:12} p99 {found['alone_p99_us']:6.0f} -> {found['beside_p99_us']:6.0f} us: {spread('p99_ratio')}   "
          f"alone again {spread('again_ratio')}   outside the mesh {found['outside_alone_p99_us']:.0f} -> "
          f"{found['outside_beside_p99_us']:.0f} us: {spread('outside_ratio')}   p50 {found['alone_p50_us']:.0f} -> "
          f"{found['beside_p50_us']:.0f}   failed {found['failed']} of {found['requests']}   "
          f"memory {found['most_resident_mib']:.0f} MiB   proxies busy "
          f"{', '.join(f'{part:.0%}' for part in found['busy'].values())}", flush=True)
    for error in found["errors"]:
        print(f"             {error}")


def alike_for_all_sessions():
    """Sessions are not weighed for the programs that we start. Gives what is to be done at the end."""
    if not os.path.exists(AUTOGROUP):
        return lambda: None
    with open(AUTOGROUP) as f:
        before = f.read()

    def write(value):
        with open(AUTOGROUP, "w") as f:
            f.write(value)

    write("0")
    return lambda: write(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--bin-dir", help="heddle's programs, instead of the build's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rate", type=int, default=2500)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--floods", default=",".join(KINDS), help="some of " + ", ".join(KINDS))
    parser.add_argument("--annotations", default="", help="of the flooding pod, as YAML")
    parser.add_argument("--proxy-flag", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = given.floods.split(",")
    if not set(kinds) <= set(KINDS):
        parser.error("--floods: some of " + ", ".join(KINDS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    restore = alike_for_all_sessions()
    try:
        lab = Lab(given)
        try:
            for pod in ("good", "outside"):
                lab.ask(pod)  # discovery, certificates, connections, caches
            results = []
            for kind in kinds:
                results.append(measure(lab, kind))
                if not given.json:
                    show(results[-1])
            who = lab.limited()
        finally:
            lab.down()
    finally:
        restore()
    if given.json:
        print(json.dumps({"floods": results, "limited": who}))
    else:
        for line, value in who.items():
            print(f"{line} {value}")


if __name__ == "__main__":
    main()
