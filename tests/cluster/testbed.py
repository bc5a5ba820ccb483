# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes of one or more nodes on this machine: its own etcd, API server, controllers and scheduler, and for
each node a containerd, a kubelet and a kube-proxy, in namespaces of their own.

Nothing of it is visible outside but its processes, its folder and its cgroups, so that any number can be up.
Addresses: 10.77.0.1 the control plane, 10.77.0.11.. the nodes, 10.244.N.0/24 pods, 10.96.0.0/16 services; of IPv6,
alone or beside these, fd77::1, fd77::b.., fd44:0:0:N::/64, fd96::/112. Images: heddle.test/{pause,busybox,tools}:1.
There is no cluster DNS.
"""
import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import time

import pki
from addresses import FAMILIES, in_url, listed
from namespaces import (IN_CGROUPS, TestbedError, children_of, end_with_parent, init_below, make_cgroups, remove_cgroups,
                        start_machine, started_at)

HERE = os.path.dirname(os.path.abspath(__file__))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Program: Debian package.
NEEDED = {"etcd": "etcd-server", "containerd": "containerd", "ctr": "containerd", "runc": "runc", "ip": "iproute2",
          "iptables": "iptables", "conntrack": "conntrack", "socat": "socat", "openssl": "openssl", "curl": "curl",
          "nsenter": "util-linux", "unshare": "util-linux", "/usr/lib/cni/bridge": "containernetworking-plugins"}


def check_machine():
    if os.geteuid() != 0:
        raise TestbedError("needs root: namespaces, mounts and cgroups are made")
    missing = {package for program, package in NEEDED.items() if not shutil.which(program, path=PATH)}
    if missing:
        raise TestbedError(f"lacks {' '.join(sorted(missing))}: sudo tools/setup --cluster")


def build():
    """The folder with Kubernetes' programs and images; builds it if need be."""
    done = subprocess.run([HERE + "/kubernetes/build"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise TestbedError("Kubernetes could not be built, see above")
    return done.stdout.strip()


def eventually(what, condition, seconds=60.0, pause=0.1):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TestbedError(f"in {seconds:.0f} s it did not happen: {what() if callable(what) else what}")
        time.sleep(pause)
    return value


class Node:
    """A node's processes, network and files. `pid` is its process 1."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.name = f"node{number}"
        self.addresses = [family.machine(10 + number) for family in cluster.families]
        self.address = self.addresses[0]
        self.pod_cidrs = [family.pods_of(number) for family in cluster.families]
        self.disk = f"{cluster.folder}/{self.name}"
        self.cgroups = []
        self.pid = 0

    def begin(self, cni):
        self.cluster.run("sh", "-c", f"mkdir -p {self.disk} && mount -t tmpfs -o mode=755 tmpfs {self.disk}")
        self._boot(cni)

    def reboot(self, cni="early"):
        """As when the power goes and comes back: only the node's disk is left. Returns while the node starts."""
        os.kill(self.pid, signal.SIGKILL)
        eventually(f"{self.name}'s processes end", lambda: started_at(self.pid) is None, 20, 0.02)
        remove_cgroups(folder for folder, _ in self.cgroups)
        self.cluster.run("sh", "-ec", f"ip link delete v{self.name} && ip netns delete {self.name}")
        self._boot(cni)
        self.cluster.save()

    def _boot(self, cni):
        cluster = self.cluster
        self._wire()
        self.cgroups = make_cgroups(f"heddle-cluster-{cluster.name}-{self.name}")
        settings = {"PATH": PATH, "HOME": "/root", "NAME": self.name, "ADDRESS": self.address,
                    "RANGES": json.dumps([[{"subnet": pods}] for pods in self.pod_cidrs]),
                    "ROUTES": json.dumps([{"dst": family.everything + "/0"} for family in cluster.families]),
                    "ALL_PODS": listed(family.pods for family in cluster.families), "EVERYTHING": cluster.everything,
                    "GATES": cluster.gates,
                    "HERE": HERE, "BIN": cluster.build + "/bin", "IMAGES": cluster.build + "/images",
                    "PKI": cluster.folder + "/pki", "DISK": self.disk, "LOGS": cluster.folder + "/logs", "CNI": cni}
        process = cluster.spawn(
            self.name, "sh", "-c", IN_CGROUPS, "sh", *(folder for folder, _ in self.cgroups), "--", "env", "-i",
            *(f"{key}={value}" for key, value in settings.items()), "nsenter", "-t", str(cluster.pid), "--mount", "--pid",
            "nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork",
            "--kill-child", "--mount-proc", HERE + "/node.sh")
        self.pid = init_below(process.pid)

    def _wire(self):
        name = self.name
        self.cluster.run("sh", "-ec", f"""
            ip netns add {name}
            ip link add v{name} type veth peer name eth0 netns {name}
            ip link set v{name} master bridge0 up
            ip -n {name} link set lo up
            ip -n {name} link set eth0 up""")
        for number, family in enumerate(self.cluster.families):
            self._route(number, family)

    def _route(self, number, family):
        name, address, pods = self.name, self.addresses[number], self.pod_cidrs[number]
        ip = " ".join(family.ip)
        self.cluster.run("sh", "-ec", f"""
            ip -n {name} address add {address}/{family.bits} dev eth0 {" ".join(family.added)}
            {ip} -n {name} route add default via {family.control_plane}
            ip netns exec {name} sysctl -qw {family.forward}=1
            {ip} route replace {pods} via {address}""")
        for other in self.cluster.nodes.values():
            if other is not self:
                self.cluster.run(*family.ip, "-n", name, "route", "replace", other.pod_cidrs[number], "via",
                                 other.addresses[number])
                self.cluster.run(*family.ip, "-n", other.name, "route", "replace", pods, "via", address)

    def command(self, *words):
        """Runs as a service of the node would: in its namespaces, and in a cgroup beside the pods'."""
        folders = [folder + ("/system" if version == 2 else "") for folder, version in self.cgroups]
        return ["sh", "-c", IN_CGROUPS, "sh", *folders, "--", "nsenter", "-t", str(self.pid), "--mount", "--net", "--pid",
                "--uts", "--ipc", "--cgroup", "--", *words]

    def run(self, *words, check=True, timeout=60):
        return run(self.command(*words), check, timeout=timeout)

    def start(self, log, *words):
        """A process that runs until `end`."""
        return self.cluster.spawn(f"{self.name}-{log}", *self.command(*words))

    def load_image(self, archive):
        """An OCI or Docker archive, for pods with imagePullPolicy Never or IfNotPresent; returns ctr's words."""
        return self.run("ctr", "-n", "k8s.io", "images", "import", os.path.abspath(archive))

    def read(self, path):
        return self.run("cat", path, check=False)


def run(command, check=True, text=None, timeout=60):
    try:
        done = subprocess.run(command, input=text, stdin=None if text is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=timeout,
                              check=False)
    except subprocess.TimeoutExpired:
        raise TestbedError(f"{' '.join(command[-8:])} took longer than {timeout} s") from None
    if check and done.returncode != 0:
        raise TestbedError(f"{' '.join(command[-8:])} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def end(process, number=signal.SIGTERM, seconds=10):
    """Ends what `spawn` or `Node.start` began: nsenter, which they began, waits for the program below it."""
    if process.poll() is None:
        for pid in children_of(process.pid) or [process.pid]:
            os.kill(pid, number)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in [*children_of(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait(seconds)
        raise TestbedError(f"{process.args[-4:]} did not end within {seconds} s") from None


class Cluster:
    """`folder` must not exist yet; it is removed by `down`. With `linger` the cluster outlives this process. `family` is
    "ipv4", "ipv6" or "dual", then the only ones that there are."""

    def __init__(self, folder, name="", linger=False, family="ipv4"):
        self.folder = folder
        self.family_name = family
        self.families = FAMILIES[family]
        self.family = self.families[0]
        self.everything = self.families[-1].everything  # :: is for IPv4 too
        self.gates = "IPv6DualStack=" + ("true" if len(self.families) > 1 else "false")  # off by default in 1.20
        self.server = f"https://{in_url(self.family.control_plane)}:6443"
        self.name = name or secrets.token_hex(4)
        self.linger = linger
        self.build = ""
        self.pid = 0  # of process 1 of the namespaces; 0 before `up`
        self.started = 0
        self.nodes = {}
        self.programs = {}

    # ---- up and down

    def up(self, nodes=1, cni="early"):
        check_machine()
        self.build = build()
        os.makedirs(self.folder + "/logs", mode=0o700)
        try:
            self._up([Node(self, number) for number in range(1, nodes + 1)], cni)
        except BaseException:
            self.show_logs()
            self.down()
            raise

    def _up(self, nodes, cni):
        self.pid = start_machine(self.folder, self.linger)
        self.started = started_at(self.pid)
        self.save()
        family = self.family
        pki.make(self.folder + "/pki", self.server, (family.control_plane, "127.0.0.1", str(family.services[1])),
                 {node.name: node.address for node in nodes})
        self.run("sh", "-ec", "ip link add bridge0 type bridge && ip link set bridge0 up")
        for each in self.families:
            self.run("sh", "-ec", f"""
                ip address add {each.control_plane}/{each.bits} dev bridge0 {" ".join(each.added)}
                sysctl -qw {each.forward}=1""")
        self.start_etcd()
        self.start_api_server()
        self._start_controllers()
        for node in nodes:
            self.nodes[node.name] = node
            node.begin(cni)
            self.save()
        for each, address in zip(self.families, nodes[0].addresses):
            self.run(*each.ip, "route", "replace", str(each.services), "via", address)
        for node in nodes:
            ranges = json.dumps({"spec": {"podCIDR": node.pod_cidrs[0], "podCIDRs": node.pod_cidrs}})
            eventually(f"{node.name} registers", lambda name=node.name, patch=ranges: self.kubectl(
                "patch", "node", name, "-p", patch, check=False).startswith("node/"))
        if cni == "early":
            self.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=90s", timeout=100)
        eventually("there is a default ServiceAccount", lambda: self.kubectl("get", "sa", "default", "-o", "name", check=False))

    def down(self):
        """Can be called at any time, again too."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            eventually("the cluster's namespaces end", lambda: not self.alive(), 20, 0.02)
        self.pid = 0
        for process in self.programs.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.programs.clear()
        remove_cgroups(folder for node in self.nodes.values() for folder, _ in node.cgroups)
        self.nodes.clear()
        if os.environ.get("HEDDLE_CLUSTER_KEEP"):
            print("kept: " + self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def save(self):
        """So that another process can `attach`, to take down what an interrupted `up` left too."""
        with open(self.folder + "/cluster.json", "w", encoding="utf-8") as file:
            json.dump({"build": self.build, "family": self.family_name, "pid": self.pid, "started": self.started,
                       "nodes": [{"pid": node.pid, "cgroups": node.cgroups} for node in self.nodes.values()]}, file)

    @classmethod
    def attach(cls, folder, name):
        """A cluster that another process has brought up; None if there is none."""
        try:
            with open(folder + "/cluster.json", encoding="utf-8") as file:
                state = json.load(file)
        except OSError:
            return None
        cluster = cls(folder, name, linger=True, family=state["family"])
        cluster.build, cluster.pid, cluster.started = state["build"], state["pid"], state["started"]
        for number, saved in enumerate(state["nodes"], 1):
            node = Node(cluster, number)
            node.pid, node.cgroups = saved["pid"], [tuple(entry) for entry in saved["cgroups"]]
            cluster.nodes[node.name] = node
        return cluster

    def alive(self):
        return bool(self.pid) and started_at(self.pid) == self.started

    # ---- the control plane

    def start_etcd(self):
        self.start("etcd", "etcd", "--name", "etcd", "--data-dir", self.folder + "/etcd", "--unsafe-no-fsync",
                   "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
                   "--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
                   "--initial-cluster", "etcd=http://127.0.0.1:2380")

    def start_api_server(self, name="kube-apiserver", port=6443):
        """Returns when it is ready. Under another name and port: one that nobody knows of, over the same etcd."""
        keys = self.folder + "/pki"
        accounts = "https://kubernetes.default.svc.cluster.local"
        known = [] if port == 6443 else ["--endpoint-reconciler-type=none"]
        self.start(
            name, self.build + "/bin/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={self.family.control_plane}", f"--bind-address={self.everything}",
            f"--secure-port={port}", "--allow-privileged=true",
            f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key",
            f"--client-ca-file={keys}/ca.crt", f"--service-account-key-file={keys}/service-accounts.pub",
            f"--service-account-signing-key-file={keys}/service-accounts.key", f"--service-account-issuer={accounts}",
            f"--api-audiences={accounts}", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction,MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
            "--service-cluster-ip-range=" + self._services(), "--feature-gates=" + self.gates,
            f"--kubelet-client-certificate={keys}/kubelet-client.crt",
            f"--kubelet-client-key={keys}/kubelet-client.key", f"--kubelet-certificate-authority={keys}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP", f"--requestheader-client-ca-file={keys}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={keys}/front-proxy.crt", f"--proxy-client-key-file={keys}/front-proxy.key", "--v=2",
            *known)
        eventually("the API server is ready", lambda: self.api_ready(port) or self._died(name), 90, 0.05)

    def _services(self):
        return listed(family.services for family in self.families)

    def api_ready(self, port=6443):
        return self.run("curl", "-s", "-m", "5", "--cacert", self.folder + "/pki/ca.crt", "--cert", self.folder + "/pki/admin.crt",
                        "--key", self.folder + "/pki/admin.key", self.server.replace(":6443", f":{port}") + "/readyz",
                        check=False) == "ok"

    def _start_controllers(self):
        keys = self.folder + "/pki"

        def identity(name):
            return [f"--{use}kubeconfig={keys}/{name}.kubeconfig" for use in ("", "authentication-", "authorization-")]
        self.start("kube-controller-manager", self.build + "/bin/kube-controller-manager", *identity("controller-manager"),
                   "--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true",
                   f"--service-account-private-key-file={keys}/service-accounts.key", f"--root-ca-file={keys}/ca.crt",
                   f"--cluster-signing-cert-file={keys}/ca.crt", f"--cluster-signing-key-file={keys}/ca.key",
                   "--allocate-node-cidrs=false", "--cluster-cidr=" + listed(family.pods for family in self.families),
                   "--service-cluster-ip-range=" + self._services(), "--feature-gates=" + self.gates)
        self.start("kube-scheduler", self.build + "/bin/kube-scheduler", *identity("scheduler"), "--bind-address=127.0.0.1",
                   "--leader-elect=false")

    def compact_history(self):
        """Makes etcd forget what came before now; returns the revision."""
        key = base64.b64encode(b"/").decode()
        revision = self._etcd("range", {"key": key})["header"]["revision"]
        self._etcd("compaction", {"revision": revision, "physical": True})
        return int(revision)

    def _etcd(self, question, body):
        return json.loads(self.run("curl", "-sf", "-m", "10", "-d", json.dumps(body), "http://127.0.0.1:2379/v3/kv/" + question))

    # ---- asking and running

    def kubectl(self, *words, text=None, check=True, timeout=60):
        return run(self.command(self.build + "/bin/kubectl", "--kubeconfig", self.kubeconfig(), *words), check, text, timeout)

    def apply(self, text):
        return self.kubectl("apply", "-f", "-", text=text)

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def kubeconfig(self, name="admin"):
        return f"{self.folder}/pki/{name}.kubeconfig"

    def command(self, *words):
        """Runs on the control plane's machine."""
        return ["nsenter", "-t", str(self.pid), "--mount", "--net", "--pid", "--", *words]

    def run(self, *words, check=True, timeout=60):
        return run(self.command(*words), check, timeout=timeout)

    def start(self, name, *words):
        self.programs[name] = self.spawn(name, *self.command(*words))
        return self.programs[name]

    def stop(self, name, number=signal.SIGKILL):
        end(self.programs.pop(name), number)

    def spawn(self, log, *command):
        with open(f"{self.folder}/logs/{log}.log", "ab") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                    preexec_fn=None if self.linger else end_with_parent)

    def _died(self, name):
        if self.programs[name].poll() is not None:
            raise TestbedError(f"{name} ended with {self.programs[name].returncode}, see its log")
        return False

    def show_logs(self, last=3000):
        for name in sorted(os.listdir(self.folder + "/logs")):
            with open(f"{self.folder}/logs/{name}", encoding="utf-8", errors="replace") as file:
                print(f"--- {name}\n{file.read()[-last:]}")
