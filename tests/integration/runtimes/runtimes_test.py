#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real container runtimes through the real chain: bridge + host-local, portmap, heddle-cni, heddle-agent.

Everything runs in mount, network and process namespaces of its own, in which /run, /etc/cni, /opt and the runtimes'
state are empty folders: go-cni looks in fixed places, and when the first process ends the kernel ends all others. Only
cgroups are the machine's; their folder bears our name and is removed at the end.

Exit status: 0 passed, 1 failed, 77 cannot run here (the last line says why).
"""
import argparse
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from image import write_image

IMAGE = "heddle.example/busybox:1"
GATEWAY = "10.249.0.1"
SERVER_PORT = 18080
NEEDED = ("containerd", "ctr", "runc", "podman", "unshare", "mount", "ip", "busybox", "curl")
PLUGINS = "/usr/lib/cni"


def skip(reason):
    print("SKIP: " + reason)
    sys.exit(77)


def run(*command, check=True, timeout=60, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=timeout, check=False, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}")
    return done.stdout


def eventually(what, condition, seconds=20):
    """Waits for a condition; what it last said is in the failure."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in {seconds} s it did not happen: {what}")
        time.sleep(0.02)


def cgroup_mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    kinds = {line[4]: line[line.index("-") + 1] for line in lines}
    return ([path for path, kind in kinds.items() if kind == "cgroup2"],
            [path for path, kind in kinds.items() if kind in ("cgroup", "cgroup2")])


class UnixHttp:
    """GET over a UNIX socket, HTTP/1.0 style."""

    def __init__(self, path):
        self.path = path

    def get(self, target):
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(self.path)
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
        except OSError:
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            out = b""
            while body:
                size, _, body = body.partition(b"\r\n")
                out += body[:int(size, 16)]
                body = body[int(size, 16) + 2:]
            body = out
        return body.decode(errors="replace")


class Machine:
    """A node inside the namespaces: its folders, its heddle, its runtimes."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = arguments.folder
        self.cgroup = arguments.cgroup
        self.agent_process = None
        self.agent = UnixHttp("/run/heddle/agent/admin.sock")

    def prepare(self):
        run("ip", "link", "set", "lo", "up")
        for path in ("/run", "/opt"):
            run("mount", "-t", "tmpfs", "tmpfs", path)
        # /etc keeps its files (podman's policy) and gets folders of its own on top.
        for name in ("etc-upper", "etc-work", "var-upper", "var-work"):
            os.makedirs(f"{self.folder}/{name}")
        for name in ("etc", "var"):
            run("mount", "-t", "overlay", "overlay", "-o",
                f"lowerdir=/{name},upperdir={self.folder}/{name}-upper,workdir={self.folder}/{name}-work", f"/{name}")
        shutil.rmtree("/etc/cni", ignore_errors=True)
        os.makedirs("/etc/cni/net.d")
        os.makedirs("/opt/cni/bin")
        for plugin in ("bridge", "host-local", "portmap", "loopback"):
            shutil.copy(f"{PLUGINS}/{plugin}", "/opt/cni/bin/" + plugin)
        os.makedirs("/run/bpf")
        run("mount", "-t", "bpf", "bpf", "/run/bpf")
        self.write_conflist()
        write_image(f"{self.folder}/image.tar", IMAGE)

    def write_conflist(self):
        plugins = [{"type": "bridge", "bridge": "heddle0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
                    "ipam": {"type": "host-local", "dataDir": f"{self.folder}/leases",
                             "ranges": [[{"subnet": "10.249.0.0/24", "gateway": GATEWAY}]],
                             "routes": [{"dst": "0.0.0.0/0"}]}},
                   {"type": "portmap", "capabilities": {"portMappings": True}}]
        with open("/etc/cni/net.d/10-pods.conflist", "w", encoding="utf-8") as file:
            json.dump({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, file, indent=2)
        run(f"{self.arguments.bin_dir}/heddle-cni", "install", "--conf-dir", "/etc/cni/net.d", "--bin-dir",
            "/opt/cni/bin", "--run-dir", "/run/heddle", "--log-file", f"{self.folder}/cni.log")

    def start(self, name, *command):
        log = open(f"{self.folder}/{name}.log", "a", encoding="utf-8")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def program(self, name):
        return f"{self.arguments.bin_dir}/heddle-{name}"

    def start_mesh(self):
        for folder in ("/run/objects", "/run/tokens"):
            os.makedirs(folder, mode=0o700)
        for path, text in (("/run/tokens/node-1.token", "0123456789abcdef"), ("/run/token", "node-1:0123456789abcdef")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o600)
        # Control certifies identities of pods that are scheduled on the asking node; that of our pods is the default one.
        with open("/run/objects/pod.yaml", "w", encoding="utf-8") as file:
            file.write("apiVersion: v1\nkind: Pod\nmetadata: {name: stand-in, namespace: default}\n"
                       "spec: {nodeName: node-1, serviceAccountName: default}\nstatus: {phase: Running}\n")
        self.start("control", self.program("control"), "--source", "folder:/run/objects", "--state-dir", "/run/control",
                   "--node-tokens", "/run/tokens", "--identity-address", "127.0.0.1:8080", "--destination-address",
                   "127.0.0.1:8086", "--admin-address", "127.0.0.1:9990")
        eventually("the control plane's trust anchors", lambda: os.path.exists("/run/control/trust-anchors.pem"))
        self.start_agent()
        self.start("proxy", self.program("proxy"), "--run-dir", "/run/heddle", "--workers", "1", "--destination-address",
                   "127.0.0.1:8086", "--trust-anchors", "/run/control/trust-anchors.pem", "--log-level", "debug", "--access-log", "json")

    def start_agent(self):
        self.agent_process = self.start("agent", self.program("agent"), "--node-name", "node-1", "--run-dir", "/run/heddle", "--pin-folder",
                           "/run/bpf/heddle", "--pods-cgroup", self.cgroup, "--interception", self.arguments.interception,
                           "--default-inject", "enabled", "--identity-address", "127.0.0.1:8080", "--trust-anchors",
                           "/run/control/trust-anchors.pem", "--token-file", "/run/token", "--source",
                           "folder:/run/objects")
        eventually("the agent's state", self.state)

    def kill_agent(self):
        self.agent_process.kill()
        self.agent_process.wait()

    def state(self):
        text = self.agent.get("/state")
        return json.loads(text) if text else None

    def pods(self):
        state = self.state() or {}
        return state.get("pods", [])

    def start_containerd(self):
        config = f"{self.folder}/containerd.toml"
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'version = 2\nroot = "{self.folder}/containerd"\nstate = "/run/containerd-state"\n'
                       'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "/run/containerd.sock"\n')
        self.start("containerd", "containerd", "--config", config)
        eventually("containerd to listen", lambda: os.path.exists("/run/containerd.sock"))
        self.ctr("image", "import", f"{self.folder}/image.tar")

    def ctr(self, *words, **more):
        return run("ctr", "-a", "/run/containerd.sock", *words, **more)

    def podman(self, *words, **more):
        return run("podman", "--root", f"{self.folder}/podman", "--runroot", "/run/podman-run", "--storage-driver", "vfs",
                   "--cgroup-manager", "cgroupfs", "--network-backend", "cni", "--runtime", "runc", *words, **more)

    def prepare_podman(self):
        os.makedirs("/etc/containers", exist_ok=True)
        # Debian's defaults ask for limits that need CAP_SYS_RESOURCE, which containers of CI machines may lack.
        with open("/etc/containers/containers.conf", "w", encoding="utf-8") as file:
            file.write('[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]\n'
                       '[network]\nnetwork_backend = "cni"\nnetwork_config_dir = "/etc/cni/net.d"\n'
                       'cni_plugin_dirs = ["/opt/cni/bin"]\n'
                       '[engine]\nevents_logger = "none"\n')
        self.podman("load", "-i", f"{self.folder}/image.tar")


def serve():
    """A server outside the mesh, on the bridge's address; it answers with the path that was asked for."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = ("hello " + self.path + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("0.0.0.0", SERVER_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def fetch(path):
    """A pod's command that gets a page of the server outside (busybox' own wget -T crashes)."""
    return "timeout", "10", "wget", "-q", "-O", "-", f"http://{GATEWAY}:{SERVER_PORT}{path}"


def find_pod(machine, text):
    return next((pod for pod in machine.pods() if text in json.dumps(pod)), None)


def leases(machine):
    folder = f"{machine.folder}/leases/pods"
    return sorted(name for name in os.listdir(folder) if name[0].isdigit()) if os.path.isdir(folder) else []


def start_container(machine, name, *command):
    """A container of containerd's in the foreground: only then does ctr call DEL when it ends."""
    return machine.start(f"ctr-{name}", "ctr", "-a", "/run/containerd.sock", "run", "--rm", "--cni", "--cgroup",
                         f"/{machine.arguments.name}/ctr/{name}", IMAGE, name, *command)


def stop_container(machine, name, process):
    machine.ctr("task", "kill", "--signal", "9", name)
    process.wait(timeout=20)


def containerd_starts_and_stops_a_meshed_pod(machine):
    process = start_container(machine, "ctr-pod", "sleep", "1000")
    pod = eventually("the agent lists the pod", lambda: find_pod(machine, "ctr-pod"))
    print("  agent:", json.dumps(pod)[:300])
    assert pod["meshed"] and pod["mode"] == machine.arguments.interception, pod
    eventually("the container runs", lambda: "RUNNING" in machine.ctr("task", "ls"))
    answer = machine.ctr("task", "exec", "--exec-id", "1", "ctr-pod", *fetch("/from-ctr"))
    assert "hello /from-ctr" in answer, answer
    stop_container(machine, "ctr-pod", process)
    with open(f"{machine.folder}/cni.log", encoding="utf-8") as file:
        deletions = [line for line in file if " DEL done " in line and "ctr-pod" in line]
    # The process is gone before DEL, and its namespace with it.
    assert deletions and all("netns=none" in line for line in deletions), deletions
    assert not find_pod(machine, "ctr-pod"), "DEL has returned, the agent still lists the pod"


def a_containers_first_connection_is_meshed(machine):
    """ADD has returned before the container's process starts, so there is no moment without a mesh."""
    output = machine.ctr("run", "--rm", "--cni", "--cgroup", f"/{machine.arguments.name}/ctr/first", IMAGE, "first",
                         *fetch("/first"))
    assert "hello /first" in output, output
    eventually("the proxy counts the pod's request", lambda: requests_of(machine, "first") == 1)
    assert not find_pod(machine, "first"), "DEL has returned, the agent still lists the pod"


def podman_starts_and_stops_a_meshed_pod(machine):
    machine.podman("run", "--detach", "--name", "podman-pod", "--network", "pods", "--cgroup-parent",
                   f"/{machine.arguments.name}/podman", "--publish", "18081:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    pod = eventually("the agent lists the pod", lambda: find_pod(machine, "podman-pod"))
    print("  agent:", json.dumps(pod)[:300])
    answer = machine.podman("exec", "podman-pod", *fetch("/from-podman"))
    assert "hello /from-podman" in answer, answer
    served = eventually("the pod answers through its host port", lambda: run("curl", "-s", "-m", "5", f"http://{GATEWAY}:18081/index.html",
                                                                           check=False))
    assert "served by a pod" in served, served
    machine.podman("rm", "--force", "--time", "0", "podman-pod")
    eventually("the agent forgets the pod", lambda: not find_pod(machine, "podman-pod"))


def two_containers_of_a_podman_pod_share_one_enrolment(machine):
    machine.podman("pod", "create", "--name", "both", "--network", "pods", "--cgroup-parent", f"/{machine.arguments.name}/both",
                   "--infra-image", IMAGE, "--infra-command", "/bin/sleep 1000")
    for name in ("one", "two"):
        machine.podman("run", "--detach", "--pod", "both", "--name", name, IMAGE, "sleep", "1000")
    assert len(machine.pods()) == 1, machine.pods()
    for name in ("one", "two"):
        answer = machine.podman("exec", name, *fetch("/" + name))
        assert f"hello /{name}" in answer, answer
    machine.podman("pod", "rm", "--force", "--time", "0", "both")
    eventually("the agent forgets the pod", lambda: not machine.pods())


def a_pod_is_refused_while_the_agent_is_away_and_starts_once_it_is_back(machine):
    machine.kill_agent()
    output = machine.ctr("run", "--rm", "--cni", "--cgroup", f"/{machine.arguments.name}/ctr/away", IMAGE, "away",
                         "true", check=False)
    assert "heddle-agent is away" in output, output
    machine.start_agent()
    output = machine.ctr("run", "--rm", "--cni", "--cgroup", f"/{machine.arguments.name}/ctr/back", IMAGE, "back",
                         *fetch("/back"))
    assert "hello /back" in output, output
    eventually("the agent forgets the pod", lambda: not find_pod(machine, "back"))


def a_pod_that_ends_while_the_agent_is_away_is_released_by_the_next_one(machine):
    process = start_container(machine, "orphan", "sleep", "1000")
    eventually("the agent lists the pod", lambda: find_pod(machine, "orphan"))
    eventually("the container runs", lambda: "RUNNING" in machine.ctr("task", "ls"))
    machine.kill_agent()
    stop_container(machine, "orphan", process)  # DEL with nobody to ask
    machine.start_agent()
    eventually("the agent forgets the pod", lambda: not find_pod(machine, "orphan"))


def nothing_is_left_of_the_pods(machine):
    assert not machine.pods(), machine.pods()
    assert not leases(machine), f"addresses still leased: {leases(machine)}"
    names = [name for name in os.listdir("/sys/class/net") if name.startswith("veth")]
    assert not names, f"interfaces left: {names}"
    rules = run("iptables-save", check=False)
    assert "CNI-DN" not in rules, rules


def requests_of(machine, name):
    """Outbound requests that the proxy counted for the pod."""
    text = run("curl", "-s", "-m", "5", "http://127.0.0.1:4191/metrics", check=False)
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("request_total{") and 'direction="outbound"' in line and name in line)


TESTS = (containerd_starts_and_stops_a_meshed_pod, a_containers_first_connection_is_meshed,
         podman_starts_and_stops_a_meshed_pod, two_containers_of_a_podman_pod_share_one_enrolment,
         a_pod_is_refused_while_the_agent_is_away_and_starts_once_it_is_back,
         a_pod_that_ends_while_the_agent_is_away_is_released_by_the_next_one, nothing_is_left_of_the_pods)


def inside(arguments):
    """As process 1 of the new namespaces; whatever happens, everything ends with us."""
    machine = Machine(arguments)
    failed = 0
    try:
        machine.prepare()
        serve()
        machine.start_mesh()
        machine.start_containerd()
        machine.prepare_podman()
        for test in TESTS:
            if arguments.filter and arguments.filter not in test.__name__:
                continue
            started = time.monotonic()
            try:
                test(machine)
                print(f"ok      {test.__name__} {time.monotonic() - started:.1f} s", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"FAILED  {test.__name__}: {error}", flush=True)
    except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
        failed += 1
        print(f"FAILED  to set the node up: {error}", flush=True)
    if failed:
        print("--- proxy's counters\n" + "\n".join(
            line for line in run("curl", "-s", "-m", "5", "http://127.0.0.1:4191/metrics", check=False).splitlines()
            if not line.startswith("#") and "_bucket" not in line and not line.endswith(" 0")))
        print("--- agent's drops\n" + (machine.agent.get("/drops") or "none"))
        for name in ("agent", "proxy", "control", "containerd", "cni"):
            path = f"{machine.folder}/{name}.log"
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    print(f"--- {name}\n" + "".join(file.readlines()[-25:]), flush=True)
    return 1 if failed else 0


def remove_cgroups(name):
    for mount in cgroup_mounts()[1]:
        for folder, _, _ in os.walk(os.path.join(mount, name), topdown=False):
            for _ in range(100):  # the kernel takes a moment after the last process ended
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.02)


def outside(arguments):
    if os.getuid() != 0:
        skip("needs root")
    for program in NEEDED:
        if not shutil.which(program):
            skip(f"{program} is not installed; run tools/setup --test")
    for program in ("agent", "proxy", "control", "cni"):
        if not os.path.exists(f"{arguments.bin_dir}/heddle-{program}"):
            skip(f"{arguments.bin_dir}/heddle-{program} is not built")
    unified = cgroup_mounts()[0]
    if not unified:
        skip("there is no cgroup v2 mount")
    arguments.name = f"heddle-runtimes-{os.getpid()}"
    arguments.cgroup = f"{unified[0]}/{arguments.name}"
    os.mkdir(arguments.cgroup)
    arguments.folder = tempfile.mkdtemp(prefix=arguments.name + "-")
    try:
        # A file system of its own: overlays may not lie on overlays.
        return subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private",
             "sh", "-c", 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"', "sh", arguments.folder, sys.executable,
             os.path.abspath(__file__), "--inside", json.dumps(vars(arguments))], check=False).returncode
    finally:
        remove_cgroups(arguments.name)
        shutil.rmtree(arguments.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin-dir", default="")
    parser.add_argument("--interception", default="ebpf")
    parser.add_argument("--filter", default="")
    parser.add_argument("--inside", default="")
    arguments = parser.parse_args()
    if arguments.inside:
        return inside(argparse.Namespace(**json.loads(arguments.inside)))
    return outside(arguments)


if __name__ == "__main__":
    sys.exit(main())
