#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod that floods beside one that does not, in a lab of two nodes.

Both clients share node one's proxy, their servers node two's. The proxies run on one processor, everything else on
another, the good pod and its server above the rest: so that what is measured is what the proxies let the flood take, not
what its programs take by themselves. In each round the good pod asks for a while alone, then for as long beside the
flood; what counts is the ratio of the two 99th percentiles.
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from lab import PRIORITY, fail

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = os.path.join(HERE, "fairness_load.py")
KINDS = ("connections", "requests", "streams", "headers", "slow", "resets")
HTTP1, HTTP2 = 8000, 8001
PYTHON = os.path.realpath(sys.executable)

CONF = """daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;
events {{ worker_connections 16000; }}
http {{
  access_log off; client_body_temp_path {folder}/{name}.b; keepalive_requests 1000000000; large_client_header_buffers 8 64k;
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

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: one}
---
apiVersion: v1
kind: Node
metadata: {name: two}
---
apiVersion: v1
kind: Namespace
metadata: {name: bench, annotations: {linkerd.io/inject: enabled}}
"""


class Lab:
    def __init__(self, bin_dir, annotations, proxy_flags):
        self.name = f"fair-{os.getpid()}"
        self.heddle = os.path.join(bin_dir, "heddle")
        self.folder = tempfile.mkdtemp(prefix="heddle-fair-")
        os.chmod(self.folder, 0o755)
        objects = OBJECTS
        for name in ("good-server", "flood-server"):
            conf = os.path.join(self.folder, name + ".conf")
            with open(conf, "w") as f:
                f.write(CONF.format(folder=self.folder, name=name, http1=HTTP1, http2=HTTP2))
            command = json.dumps([shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-c", conf])
            objects += POD.format(name=name, annotations="", node="two", command=command)
        for name in ("good", "flood"):
            said = annotations if name == "flood" else ""
            objects += POD.format(name=name, annotations=said, node="one", command="[sleep, infinity]")
        with open(os.path.join(self.folder, "large"), "wb") as f:
            f.truncate(64 * 1024 * 1024)
        with open(os.path.join(self.folder, "objects.yaml"), "w") as f:
            f.write(objects)
        command = [self.heddle, "lab", "up", os.path.join(self.folder, "objects.yaml"), "--name", self.name,
                   "--bin-dir", bin_dir]
        up = subprocess.run(command + [f"--proxy-flag={flag}" for flag in proxy_flags], capture_output=True, text=True)
        if up.returncode != 0:
            self.down()
            fail(f"the lab did not come up:\n{up.stdout}{up.stderr}")
        listed = json.loads(subprocess.run([self.heddle, "lab", "list", "-o", "json"], capture_output=True, text=True,
                                           check=True).stdout)
        self.state = next(lab for lab in listed["labs"] if lab["name"] == self.name)
        self.pods = {pod["name"]: pod for pod in self.state["pods"]}
        self.nodes = {node["name"]: node for node in self.state["nodes"]}
        self.pin()

    def pin(self):
        cpus = sorted(os.sched_getaffinity(0))
        self.load_cpu, proxy_cpu = str(cpus[0]), {cpus[-1]}
        self.proxies = [each["pid"] for each in self.state["programs"] if each["name"] == "proxy"]
        for pid in self.proxies:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), proxy_cpu)
                os.setpriority(os.PRIO_PROCESS, int(task), PRIORITY)
        for name in ("good-server", "flood-server"):
            for container in self.pods[name]["containers"]:
                subprocess.run(["taskset", "-apc", self.load_cpu, str(container["pid"])], check=True, capture_output=True)
                if name == "good-server":
                    subprocess.run(["chrt", "-f", "-p", "10", str(container["pid"])], check=True)

    def address(self, pod):
        return next(ip for ip in self.pods[pod]["ips"] if ":" not in ip)

    def run(self, pod, how, *arguments, **streams):
        command = [self.heddle, "lab", "exec", "--name", self.name, f"bench/{pod}", "--", "taskset", "-c", self.load_cpu,
                   *how, PYTHON, LOAD, *arguments]
        return subprocess.Popen(command, **streams)

    def metrics(self, node):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(f"{self.nodes[node]['runDir']}/proxy/admin.sock")
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(("heddle_pod_limited_total", "process_resident_memory_bytes"))}

    def down(self):
        subprocess.run([self.heddle, "lab", "down", "--name", self.name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def ask(good, seconds):
    good.stdin.write(f"{seconds}\n")
    good.stdin.flush()
    line = good.stdout.readline()
    if not line:
        fail("the good pod's client ended")
    return json.loads(line)


def measure(lab, good, kind, rounds, seconds):
    port = HTTP2 if kind == "streams" else HTTP1
    alone, beside, errors, memory = [], [], [], 0
    for _ in range(rounds):
        alone.append(ask(good, seconds))
        flood = lab.run("flood", ["nice", "-n", "19"], kind, f"{lab.address('flood-server')}:{port}", str(seconds + 3))
        time.sleep(1)  # it begins
        beside.append(ask(good, seconds))
        errors += beside[-1]["errors"]
        memory = max([memory] + [lab.metrics(node)["process_resident_memory_bytes"] for node in lab.nodes])
        flood.wait()
        time.sleep(1)  # its last connections end
    ratios = sorted(b["p99_us"] / a["p99_us"] for a, b in zip(alone, beside))
    return {"flood": kind, "p99_ratio": round(statistics.median(ratios), 3), "least": round(ratios[0], 3),
            "most": round(ratios[-1], 3), "alone_p99_us": statistics.median(a["p99_us"] for a in alone),
            "beside_p99_us": statistics.median(b["p99_us"] for b in beside),
            "alone_p50_us": statistics.median(a["p50_us"] for a in alone),
            "beside_p50_us": statistics.median(b["p50_us"] for b in beside),
            "requests": sum(b["ok"] for b in beside), "failed": sum(b["failed"] for b in beside),
            "errors": errors[:3], "most_resident_mib": round(memory / 2**20, 1)}


def limited(lab):
    """Who was limited, by metric line."""
    return {line: int(value) for node in lab.nodes for line, value in lab.metrics(node).items()
            if line.startswith("heddle_pod_limited_total") and value}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--floods", default=",".join(KINDS), help="some of " + ", ".join(KINDS))
    parser.add_argument("--annotations", default="", help="of the flooding pod, as YAML")
    parser.add_argument("--proxy-flag", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = given.floods.split(",")
    if not set(kinds) <= set(KINDS):
        parser.error("--floods: some of " + ", ".join(KINDS))
    lab = Lab(os.path.abspath(given.bin_dir), given.annotations, given.proxy_flag)
    results = []
    try:
        good = lab.run("good", ["chrt", "-f", "10"], "ask", f"{lab.address('good-server')}:{HTTP1}",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ask(good, .5)  # connections, certificates, caches
        for kind in kinds:
            results.append(measure(lab, good, kind, given.rounds, given.seconds))
            if not given.json:
                print("{flood:12} p99 {alone_p99_us:8.0f} -> {beside_p99_us:8.0f} us  ratio {p99_ratio:.2f} "
                      "[{least:.2f} {most:.2f}]  p50 {alone_p50_us:.0f} -> {beside_p50_us:.0f}  failed {failed} of "
                      "{requests}  memory {most_resident_mib} MiB".format(**results[-1]), flush=True)
                for error in results[-1]["errors"]:
                    print(f"             {error}")
        who = limited(lab)
    finally:
        lab.down()
    if given.json:
        print(json.dumps({"floods": results, "limited": who}))
    else:
        for line, value in who.items():
            print(f"{line} {value}")


if __name__ == "__main__":
    main()
