# SPDX-License-Identifier: Apache-2.0
"""What is compared: ways from a client's pod to a server's, each with the processes whose CPU is its price."""
import ctypes
import os
import shutil
import signal
import subprocess
import time

import handshake
import peers
from lab import OBJECTS, PRIORITY, Topology, fail

BACKEND = {"h1": 7001, "h2": 7002, "tcp": 7003}
POD = """---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: bench
  annotations: {{{mesh}, config.linkerd.io/opaque-ports: "{opaque}"}}
spec:
  nodeName: {node}
  containers:
    - {{name: main, command: {command}}}
"""
EBPF = "linkerd.io/inject: enabled, heddle.io/interception: ebpf"
IPTABLES = "linkerd.io/inject: enabled, heddle.io/interception: iptables"
OUTSIDE = "linkerd.io/inject: disabled"
# No peer limits how many connections come in a second: what is measured is not, who floods is.
UNLIMITED = ', heddle.io/max-accepts-per-second: "1000000"'
CLIENTS = {"client": EBPF + UNLIMITED, "client-iptables": IPTABLES + UNLIMITED, "outside": OUTSIDE, "neighbour": EBPF}
SERVERS = {"server": ("two", EBPF + UNLIMITED), "near": ("one", EBPF + UNLIMITED),
           "server-iptables": ("two", IPTABLES + UNLIMITED), "outside-server": ("two", OUTSIDE)}
# Of one lab: pair -> client's pod, server's pod, nodes whose proxies it passes.
WAYS = {"": ("client", "server", ("one", "two")), "-same-node": ("client", "near", ("one",)),
        "-iptables": ("client-iptables", "server-iptables", ("one", "two"))}
# Connections of a second reach the kernel's limit of ports otherwise; alike for everybody.
SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65000")
OWN_SESSION = os.getsid(0)
PR_SET_PDEATHSIG = 1


# In front of a command: its priority, as session too, since the kernel's autogroups weigh sessions before processes.
AS_SESSION = ["setsid", "-w", "sh", "-c", 'echo "$0" 2>/dev/null >/proc/self/autogroup; exec nice -n "$0" "$@"']


def pin(pid, cpu):
    """On one processor, above the rest of the machine."""
    if os.getsid(pid) != OWN_SESSION and os.path.exists(f"/proc/{pid}/autogroup"):
        with open(f"/proc/{pid}/autogroup", "w") as f:
            f.write(str(PRIORITY))
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(task), {cpu})
            os.setpriority(os.PRIO_PROCESS, int(task), PRIORITY)
        except ProcessLookupError:
            pass


def become_sidecar(cpu):
    """Between fork and exec: children inherit all of it but the first."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pin(os.getpid(), cpu)


def process_tree(root):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
            except (OSError, ValueError):
                pass
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


class Pair:
    """`kind` is heddle, peer, floor or direct; `pids` are by side: client, server, agent. `neighbour` is a pod whose
    traffic passes the same proxies: another one where a proxy serves several, else the client's own."""

    def __init__(self, name, kind, lab, client, targets, pids, neighbour=None):
        self.name = name
        self.kind = kind
        self.lab = lab
        self.client = client
        self.neighbour = neighbour or client
        self.targets = targets
        self.pids = pids

    def command(self, arguments, pod=None, priority=PRIORITY):
        """In the client's pod, as one of its programs."""
        return [self.lab.heddle, "lab", "exec", "--name", self.lab.name, f"bench/{pod or self.client}", "--",
                *AS_SESSION, str(priority), "taskset", "-c", str(self.lab.load_cpu), *arguments]

    def proxies(self):
        return {side: pids for side, pids in self.pids.items() if side != "agent"}


class Mesh(Topology):
    """A lab with everything that pairs need; and the peers, which run as sidecars of its pods outside the mesh."""

    def __init__(self, bin_dir, traffic, suffix="", pods=None):
        """`pods`: names of those to make, without: all."""
        cpus = sorted(os.sched_getaffinity(0))
        self.load_cpu, self.proxy_cpu = cpus[0], cpus[-1]
        serve = [traffic, "serve"] + [part for kind, protocol in (("--http1", "h1"), ("--http2", "h2"), ("--bytes", "tcp"))
                                      for part in (kind, f"0.0.0.0:{BACKEND[protocol]}")]
        objects = OBJECTS
        wanted = lambda each: each if pods is None else {name: each[name] for name in each if name in pods}
        for name, mesh in wanted(CLIENTS).items():
            objects += POD.format(name=name, mesh=mesh, node="one", command=["sleep", "infinity"], opaque=BACKEND["tcp"])
        for name, (node, mesh) in wanted(SERVERS).items():
            objects += POD.format(name=name, mesh=mesh, node=node, command=serve, opaque=BACKEND["tcp"])
        self.sidecars = []
        self.started = {}
        super().__init__(bin_dir, objects, f"bench-{os.getpid()}{suffix}", ["--workers=1"])
        try:
            self.prepare(list(wanted(SERVERS)))
        except BaseException:
            self.down()
            raise

    def prepare(self, servers):
        for pod in self.pods.values():
            for setting in SYSCTLS:
                subprocess.run(["nsenter", f"--net={pod['netns']}", "sysctl", "-qw", setting], check=True)
        self.backends = [container["pid"] for name in servers for container in self.pods[name]["containers"]]
        for pid in self.backends + self.programs("control"):
            pin(pid, self.load_cpu)
        for pid in self.programs("proxy") + self.programs("agent"):
            pin(pid, self.proxy_cpu)

    def direct(self):
        return Pair("direct", "direct", self, "outside", self.targets("outside-server"), {})

    def targets(self, server):
        return {protocol: f"{self.address(server)}:{port}" for protocol, port in BACKEND.items()}

    def through_mesh(self, name, way):
        client, server, nodes = WAYS[way]
        pids = {side: self.programs("proxy", node) for side, node in zip(("client", "server"), nodes)}
        pids["agent"] = [pid for node in nodes for pid in self.programs("agent", node)]
        return Pair(name, "heddle", self, client, self.targets(server), pids,
                    "neighbour" if way == "" else None)

    def peer(self, name, forwarder):
        ports = peers.Ports(len(self.started), self.address("outside-server"), BACKEND)
        folder = os.path.join(self.folder, name)
        shutil.copytree(self.certificates(), folder)
        os.mkdir(os.path.join(folder, "tmp"))
        protocols, make = peers.PEERS[name]
        peer = make(ports, folder, forwarder)
        for file, text in peer.files.items():
            with open(os.path.join(folder, file), "w") as f:
                f.write(text)
        roots = {side: self.start_sidecar(pod, peer.commands[side], folder)
                 for side, pod in (("server", "outside-server"), ("client", "outside"))}
        self.started[name] = ports
        self.await_listener("outside-server", ports.hop(protocols[0]), roots["server"], folder)
        self.await_listener("outside", ports.listen(protocols[0]), roots["client"], folder)
        wrong = handshake.fault(self.pods["outside"]["netns"], ports.hop(protocols[0]), peers.NAME, folder, peers.CIPHER)
        if wrong:
            fail(f"{name} is no fair peer: {wrong}")
        pids = {side: process_tree(root.pid) for side, root in roots.items()}
        kind = "floor" if name == peers.FLOOR else "peer"
        return Pair(name, kind, self, "outside", {p: ports.listen(p) for p in protocols}, pids)

    def certificates(self):
        folder = os.path.join(self.folder, "certificates")
        if not os.path.exists(folder):
            os.mkdir(folder)
            peers.make_certificates(folder)
        return folder

    def start_sidecar(self, pod, command, folder):
        """In the pod's network, outside its cgroup: no hook of the mesh runs for it."""
        with open(os.path.join(folder, "output.log"), "ab") as log:
            started = subprocess.Popen(["nsenter", f"--net={self.pods[pod]['netns']}", *command], cwd=folder, stdout=log,
                                       stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                       preexec_fn=lambda: become_sidecar(self.proxy_cpu))
        self.sidecars.append(started)
        return started

    def await_listener(self, pod, address, process, folder):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            listening = subprocess.run(["nsenter", f"--net={self.pods[pod]['netns']}", "ss", "-Hltn", "src", address],
                                       capture_output=True, text=True, check=True)
            if listening.stdout.strip():
                return
            time.sleep(.02)
        with open(os.path.join(folder, "output.log")) as f:
            fail(f"{' '.join(process.args)} does not listen at {address}:\n{f.read()}")

    def down(self):
        for sidecar in self.sidecars:
            if sidecar.poll() is None:
                os.killpg(sidecar.pid, signal.SIGTERM)
        for sidecar in self.sidecars:
            try:
                sidecar.wait(2)
            except subprocess.TimeoutExpired:
                os.killpg(sidecar.pid, signal.SIGKILL)
                sidecar.wait()
        super().down()
