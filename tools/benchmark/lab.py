# SPDX-License-Identifier: Apache-2.0
"""A lab for measurements: pods that reach one server in different ways, all programs on one processor."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

PORT = 7000
# Above the rest of the machine, alike for everybody here: foreign processes interrupt less, and what they leave in
# the caches is met less often.
PRIORITY = -15

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
metadata: {name: bench}
"""

SERVER = """---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  annotations: {{{annotations}, config.linkerd.io/opaque-ports: "{port}"}}
spec:
  nodeName: {node}
  containers:
    - {{name: server, command: ["{load}", serve, "0.0.0.0:{port}"]}}
"""

# Name -> node, annotations. Near and far are outside the mesh, where nothing but the way to them differs. What is between
# two nodes of a lab is bridges and more veth pairs on the same processor, not a wire: connections to the far ones cost
# what no node would spend.
SERVERS = {
    "near": ("one", "linkerd.io/inject: disabled"),
    "far": ("two", "linkerd.io/inject: disabled"),
    "meshed-ebpf": ("two", "linkerd.io/inject: enabled, heddle.io/interception: ebpf"),
    "meshed-iptables": ("two", "linkerd.io/inject: enabled, heddle.io/interception: iptables"),
}


def server_of(place, way):
    """The server that a way's client dials: "meshed" is one that is intercepted as the client is."""
    if place != "meshed":
        return place
    return {"iptables": "meshed-iptables", "direct": "far"}.get(way, "meshed-ebpf")


CLIENT = """---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  annotations: {annotations}
spec:
  nodeName: one
  containers:
    - {{name: client, command: [sleep, infinity]}}
"""

PODS = {
    "ebpf": "{linkerd.io/inject: enabled, heddle.io/interception: ebpf}",
    "iptables": "{linkerd.io/inject: enabled, heddle.io/interception: iptables}",
    "direct": "{linkerd.io/inject: disabled}",
}


def fail(message):
    print(f"tools/bench: {message}", file=sys.stderr)
    sys.exit(1)


def remove_abandoned(heddle):
    """Labs of benchmarks that were killed and could not take theirs down."""
    listed = subprocess.run([heddle, "lab", "list", "-o", "json"], capture_output=True, text=True)
    for lab in json.loads(listed.stdout)["labs"] if listed.returncode == 0 else []:
        owner = re.fullmatch(r"bench-(\d+)(-\w+)?", lab["name"])
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            subprocess.run([heddle, "lab", "down", "--name", lab["name"]], capture_output=True)


class Topology:
    """A lab that is up: its pods, nodes and programs."""

    def __init__(self, bin_dir, objects, name, proxy_flags=(), agent_flags=()):
        self.name = name
        self.heddle = os.path.join(bin_dir, "heddle")
        remove_abandoned(self.heddle)
        self.folder = tempfile.mkdtemp(prefix="heddle-bench-")
        try:
            self.up(bin_dir, objects, proxy_flags, agent_flags)
        except BaseException:
            self.down()
            raise

    def up(self, bin_dir, objects, proxy_flags, agent_flags):
        with open(os.path.join(self.folder, "bench.yaml"), "w") as f:
            f.write(objects)
        command = [self.heddle, "lab", "up", self.folder, "--name", self.name, "--bin-dir", bin_dir]
        command += [f"--proxy-flag={flag}" for flag in proxy_flags] + [f"--agent-flag={flag}" for flag in agent_flags]
        up = subprocess.run(command, capture_output=True, text=True)
        if up.returncode != 0:
            fail(f"the lab did not come up:\n{up.stdout}{up.stderr}")
        listed = json.loads(subprocess.run([self.heddle, "lab", "list", "-o", "json"], capture_output=True, text=True,
                                           check=True).stdout)
        self.state = next(lab for lab in listed["labs"] if lab["name"] == self.name)
        self.pods = {pod["name"]: pod for pod in self.state["pods"]}
        self.nodes = {node["name"]: node for node in self.state["nodes"]}

    def address(self, pod):
        return next(ip for ip in self.pods[pod]["ips"] if ":" not in ip)

    def programs(self, name, node=None):
        """Process ids of the lab's proxies, agents or control."""
        return [each["pid"] for each in self.state["programs"]
                if each["name"] == name and (node is None or each.get("node") == node)]

    def down(self):
        subprocess.run([self.heddle, "lab", "down", "--name", self.name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Lab(Topology):
    """Two nodes with agent and proxy; `dial` makes one way's client open connections."""

    def __init__(self, build, proxy_flags, agent_flags=(), suffix=""):
        self.load = os.path.join(build, "bench", "heddle-connect-load")
        self.clients = {}
        self.cpu = max(os.sched_getaffinity(0))
        objects = OBJECTS
        for name, (node, annotations) in SERVERS.items():
            objects += SERVER.format(name=name, node=node, annotations=annotations, port=PORT, load=self.load)
        for name, annotations in PODS.items():
            objects += CLIENT.format(name=name, annotations=annotations)
        super().__init__(os.path.join(build, "bin"), objects, f"bench-{os.getpid()}{suffix}", proxy_flags, agent_flags)
        self.cgroup = self.find_cgroup()
        os.makedirs(os.path.join(self.cgroup, "bench"), exist_ok=True)
        self.pin()

    def pin(self):
        """Client, proxy, agent and server on one processor: a wake-up across processors costs several times one on
        the same, and the scheduler's choice between them would drown every difference."""
        pids = self.programs("proxy") + self.programs("agent")
        pids += [container["pid"] for server in SERVERS for container in self.pods[server]["containers"]]
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {self.cpu})
                os.setpriority(os.PRIO_PROCESS, int(task), PRIORITY)

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
        """CPU of everything in the lab so far. Exact while its programs wait: who runs is charged when it stops."""
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

    def client(self, way, server):
        """The way's client, started when first asked for."""
        if (way, server) not in self.clients:
            load = ["taskset", "-c", str(self.cpu), "nice", "-n", str(PRIORITY), self.load, "dial",
                    f"{self.address(server)}:{PORT}"]
            if way == "explicit":
                # In the pod's network but not in its cgroup: no hook runs.
                command = ["sh", "-c", 'echo $$ > "$0"/cgroup.procs; exec "$@"', os.path.join(self.cgroup, "bench"),
                           "nsenter", f"--net={self.pods['ebpf']['netns']}", *load, f"{self.address('ebpf')}:4140",
                           self.connects_map()]
            else:
                command = [self.heddle, "lab", "exec", "--name", self.name, f"bench/{way}", "--", *load]
            self.clients[way, server] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self.clients[way, server]

    def dial(self, way, place, count):
        """Opens `count` connections one after the other; what the client says of them."""
        client = self.client(way, server_of(place, way))
        client.stdin.write(f"{count}\n")
        client.stdin.flush()
        line = client.stdout.readline()
        if not line:
            fail(f"the client of {way} ended: {client.wait()}")
        return json.loads(line)

    def rules(self, netns, count):
        """Gives a network namespace `count` nat rules of somebody else's, none of which matches; 0: takes them away."""
        script = "delete table ip heddle_bench\n"
        if count:
            lines = [f"ip daddr 198.51.{100 + i // 250}.{i % 250} tcp dport 1 accept" for i in range(count)]
            body = "\n".join(lines)
            script = "table ip heddle_bench {\n"
            for hook in ("output", "prerouting"):
                script += f"chain {hook} {{ type nat hook {hook} priority -101;\n{body}\n}}\n"
            script += "}\n"
        subprocess.run(["nsenter", f"--net={netns}", "nft", "-f", "-"], input=script, text=True, check=True)

    def down(self):
        for client in self.clients.values():
            client.stdin.close()
            client.wait()
        self.clients = {}
        super().down()
