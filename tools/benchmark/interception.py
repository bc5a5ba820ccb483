#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interception's price per connection, in a lab of its own.

One client pod per way to reach the proxy, one server pod outside the mesh on another node, so that nothing but the
way differs. CPU is what the lab's whole cgroup used: clients, kernel work on their behalf, proxy, server.
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
import tempfile

PORT = 7000
RULES = 5000

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {{name: one}}
---
apiVersion: v1
kind: Node
metadata: {{name: two}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: bench}}
---
apiVersion: v1
kind: Pod
metadata:
  name: server
  namespace: bench
  annotations: {{linkerd.io/inject: disabled, config.linkerd.io/opaque-ports: "{port}"}}
spec:
  nodeName: two
  containers:
    - {{name: server, command: ["{load}", serve, "0.0.0.0:{port}"]}}
"""

CLIENT = """---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  annotations: {{linkerd.io/inject: enabled, heddle.io/interception: {interception}}}
spec:
  nodeName: one
  containers:
    - {{name: client, command: [sleep, infinity]}}
"""


def fail(message):
    print(f"tools/bench: {message}", file=sys.stderr)
    sys.exit(1)


class Lab:
    def __init__(self, build, proxy_flags):
        self.name = f"bench-{os.getpid()}"
        self.heddle = os.path.join(build, "bin", "heddle")
        self.load = os.path.join(build, "bench", "heddle-connect-load")
        self.folder = tempfile.mkdtemp(prefix="heddle-bench-")
        objects = OBJECTS.format(port=PORT, load=self.load)
        for name, interception in (("ebpf", "ebpf"), ("iptables", "iptables")):
            objects += CLIENT.format(name=name, interception=interception)
        with open(os.path.join(self.folder, "bench.yaml"), "w") as f:
            f.write(objects)
        command = [self.heddle, "lab", "up", self.folder, "--name", self.name, "--bin-dir", os.path.join(build, "bin")]
        for flag in proxy_flags:
            command.append(f"--proxy-flag={flag}")
        up = subprocess.run(command, capture_output=True, text=True)
        if up.returncode != 0:
            self.down()
            fail(f"the lab did not come up:\n{up.stdout}{up.stderr}")
        listed = json.loads(subprocess.run([self.heddle, "lab", "list", "-o", "json"], capture_output=True, text=True,
                                           check=True).stdout)
        self.state = next(lab for lab in listed["labs"] if lab["name"] == self.name)
        self.pods = {pod["name"]: pod for pod in self.state["pods"]}
        self.nodes = {node["name"]: node for node in self.state["nodes"]}
        self.cgroup = self.find_cgroup()
        os.makedirs(os.path.join(self.cgroup, "bench"), exist_ok=True)
        self.cpu = max(os.sched_getaffinity(0))
        self.pin()

    def pin(self):
        """Client, proxy and server on one processor: a wake-up across processors costs several times one on the same,
        and the scheduler's choice between them would drown every difference."""
        pids = [program["pid"] for program in self.state["programs"]
                if program["name"] == "proxy" and program["node"] == "one"]
        pids += [container["pid"] for container in self.pods["server"]["containers"]]
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {self.cpu})

    def find_cgroup(self):
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            path = os.path.join(root, "heddle-lab", self.name)
            if os.path.exists(os.path.join(path, "cpu.stat")):
                return path
        fail("the lab's cgroup was not found under /sys/fs/cgroup")

    def connects_map(self):
        for folder, _, files in os.walk(f"/run/heddle-lab/{self.name}/bpf/one"):
            if "connects" in files:
                return os.path.join(folder, "connects")
        fail("the map of original destinations is not pinned")

    def cpu_us(self):
        with open(os.path.join(self.cgroup, "cpu.stat")) as f:
            return int(f.read().split()[1])

    def accepted(self):
        """Connections that the clients' proxy has taken from pods so far."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(f"{self.nodes['one']['runDir']}/proxy/admin.sock")
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        return sum(int(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("tcp_open_total{") and 'peer="src"' in line)

    def address(self, pod):
        return next(ip for ip in self.pods[pod]["ips"] if ":" not in ip)

    def down(self):
        subprocess.run([self.heddle, "lab", "down", "--name", self.name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def dial(self, way, count):
        """Microseconds of CPU per connection, and of latency."""
        target = f"{self.address('server')}:{PORT}"
        load = ["taskset", "-c", str(self.cpu), self.load]
        if way == "explicit":
            pod = self.pods["ebpf"]
            command = ["sh", "-c", 'echo $$ > "$0"/cgroup.procs; exec "$@"', os.path.join(self.cgroup, "bench"),
                       "nsenter", f"--net={pod['netns']}", *load, "dial", target, str(count),
                       f"{self.address('ebpf')}:4140", self.connects_map()]
        else:
            command = [self.heddle, "lab", "exec", "--name", self.name, f"bench/{way}", "--", *load, "dial", target,
                       str(count)]
        before = self.cpu_us()
        ran = subprocess.run(command, capture_output=True, text=True)
        used = self.cpu_us() - before
        if ran.returncode != 0:
            fail(f"{way}: {ran.stdout}{ran.stderr}")
        result = json.loads(ran.stdout.strip().splitlines()[-1])
        return used / count, result["p50_us"]

    def rules(self, netns, present):
        script = "delete table ip heddle_bench\n"
        if present:
            lines = [f"ip daddr 198.51.{100 + i // 250}.{i % 250} tcp dport 1 accept" for i in range(RULES)]
            body = "\n".join(lines)
            script = "table ip heddle_bench {\n"
            for hook in ("output", "prerouting"):
                script += f"chain {hook} {{ type nat hook {hook} priority -101;\n{body}\n}}\n"
            script += "}\n"
        subprocess.run(["nsenter", f"--net={netns}", "nft", "-f", "-"], input=script, text=True, check=True)


def quartiles(values):
    ordered = sorted(values)
    at = lambda q: ordered[round(q * (len(ordered) - 1))]
    return {"median": round(at(.5), 3), "p25": round(at(.25), 3), "p75": round(at(.75), 3)}


def measure(lab, rounds, count, ways):
    """Every way in each round, in rotating order; `again` is the first way once more: the noise."""
    cpu = {way: [] for way in ways}
    latency = {way: [] for way in ways}
    for number in range(rounds):
        order = ways[number % len(ways):] + ways[:number % len(ways)]
        for way in order:
            used, p50 = lab.dial("ebpf" if way == "again" else way, count)
            cpu[way].append(used)
            latency[way].append(p50)
    return cpu, latency


def ratios(values, over):
    return {way: quartiles([a / b for a, b in zip(values[way], values[over])]) for way in values if way != over}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab(os.path.abspath(options.build_dir), ["--workers=1"])
    report = {"rounds": options.rounds, "connections": options.count, "cases": []}
    say = (lambda *_: None) if options.json else print
    try:
        ways = ["explicit", "ebpf", "iptables", "again"]
        for way in ways[:3]:
            before = lab.accepted()
            lab.dial(way, 200)  # discovery, sockets, caches
            if lab.accepted() - before != 200:
                fail(f"{way}: only {lab.accepted() - before} of 200 connections went through the proxy")
        cases = [("no rules", []), (f"{RULES} nat rules in the node", [lab.nodes["one"]["netns"]]),
                 (f"{RULES} nat rules in the pods", [lab.pods[p]["netns"] for p in ("ebpf", "iptables")])]
        base = None
        for title, places in cases:
            for netns in places:
                lab.rules(netns, True)
            cpu, latency = measure(lab, options.rounds, options.count, ways)
            for netns in places:
                lab.rules(netns, False)
            medians = {way: round(statistics.median(cpu[way]), 1) for way in ways}
            case = {"case": title, "cpu_us": medians,
                    "p50_us": {way: round(statistics.median(latency[way]), 1) for way in ways},
                    "cpu_over_explicit": ratios(cpu, "explicit"), "latency_over_explicit": ratios(latency, "explicit"),
                    "ebpf_over_iptables": quartiles([a / b for a, b in zip(cpu["ebpf"], cpu["iptables"])]),
                    "noise": quartiles([a / b for a, b in zip(cpu["again"], cpu["ebpf"])])}
            base = base or medians
            case["over_no_rules"] = {way: round(medians[way] / base[way], 3) for way in ways}
            report["cases"].append(case)
            say(f"\n{title}: {options.rounds} rounds of {options.count} connections")
            say(f"  {'way':10} {'CPU us/conn':>12} {'p50 us':>8}  CPU over explicit [p25-p75]   over no rules")
            for way in ways[:3]:
                r = case["cpu_over_explicit"].get(way, {"median": 1, "p25": 1, "p75": 1})
                say(f"  {way:10} {medians[way]:12.1f} {case['p50_us'][way]:8.1f}  {r['median']:5.3f} "
                    f"[{r['p25']:.3f}-{r['p75']:.3f}]           {case['over_no_rules'][way]:.3f}")
            e, n = case["ebpf_over_iptables"], case["noise"]
            say(f"  eBPF/iptables {e['median']:.3f} [{e['p25']:.3f}-{e['p75']:.3f}]   "
                f"eBPF/eBPF (noise) {n['median']:.3f} [{n['p25']:.3f}-{n['p75']:.3f}]")
    finally:
        lab.down()
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
