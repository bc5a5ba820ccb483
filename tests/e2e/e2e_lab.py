# SPDX-License-Identifier: Apache-2.0
"""A lab for end-to-end tests: brought up from YAML with the real programs, taken down whatever happens.

Programs can be held: one that ends while its gate is closed is started by the lab's daemon as usual, but waits before
it becomes the real program. That is how a test decides the order in which they come back.
"""
import argparse
import atexit
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "pod_programs.py")
PYTHON = os.path.realpath(sys.executable)
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def skip(reason):
    print("SKIP: " + reason)
    sys.exit(77)


def arguments(description, more=None):
    """--bin-dir and --interception, and those of `more` (flag -> what argparse wants); exits with 77 where a lab cannot be
    made."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, what in (more or {}).items():
        parser.add_argument(flag, **what)
    parser.add_argument("--bin-dir", required=True)
    parser.add_argument("--proxy-bin-dir", default="", help="of heddle-proxy, when it is built otherwise than the rest")
    parser.add_argument("--interception", default="ebpf", choices=("ebpf", "iptables"))
    parser.add_argument("tests", nargs="*")
    given = parser.parse_args()
    given.bin_dir = os.path.abspath(given.bin_dir)
    given.proxy_bin_dir = os.path.abspath(given.proxy_bin_dir or given.bin_dir)
    if os.geteuid() != 0:
        skip("needs root")
    for program in ("ip", "tcpdump", "nginx"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            skip("needs " + program)
    return given


def eventually(what, condition, seconds=20.0, pause=0.05):
    """Waits for a condition; what it last said is in the failure."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in {seconds} s it did not happen: {what() if callable(what) else what}")
        time.sleep(pause)


def enter_netns(path):
    """Moves the calling thread; os.setns is younger than the Python of Debian 12."""
    with open(path, "rb") as file:
        if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + path)


def socket_in(netns, *kind):
    """A socket of another network namespace: it stays there when the thread comes back."""
    with open("/proc/thread-self/ns/net", "rb") as home:
        enter_netns(netns)
        try:
            return socket.socket(*kind)
        finally:
            if LIBC.setns(home.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns back")


def unix_get(path, target, timeout=5.0):
    """A GET over a UNIX socket; None when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(1 << 20):
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


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def fd_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Capture:
    """Everything that passes every interface of a node (the wire, the bridge, the pods' veths), into a file."""

    def __init__(self, lab, node, interface="any"):
        path = self.path = f"{lab.folder}/{node}.pcap"
        netns = lab.node_netns(node)
        self.process = subprocess.Popen(
            ["nsenter", "--net=" + netns, "tcpdump", "-i", interface, "-n", "-U", "-s", "0", "-B", "131072", "-Z",
             "root", "-w", path, "tcp"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        lab.children.append(self.process)
        eventually("tcpdump begins", lambda: os.path.exists(path) and os.path.getsize(path) >= 24)

    def stop(self):
        """Returns the bytes captured; packets that the kernel had to drop are a failure."""
        if self.process.poll() is None:
            time.sleep(0.3)  # what has passed is in the ring by now; tcpdump reads a block at most 100 ms late
            self.process.send_signal(signal.SIGINT)
        said = self.process.communicate(timeout=20)[1]
        if "\n0 packets dropped by kernel" not in said:
            print("capture: " + said.replace("\n", "; "))
        with open(self.path, "rb") as file:
            return file.read()


class Lab:
    """objects: YAML text. Files of `extra` (name -> text) are put beside it."""

    def __init__(self, given, objects, prefix, flags=()):
        self.name = f"{prefix}-{given.interception[0]}{os.getpid()}"
        self.bin_dir = given.bin_dir
        self.heddle = os.path.join(given.bin_dir, "heddle")
        self.folder = tempfile.mkdtemp(prefix=f"heddle-e2e-{self.name}-")
        self.root = "/run/heddle-lab/" + self.name
        self.children = []
        atexit.register(self.down)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, self._ended_early)
        self._write_programs(given)
        os.makedirs(self.folder + "/objects")
        with open(self.folder + "/objects/lab.yaml", "w", encoding="utf-8") as file:
            file.write(objects)
        try:
            self._run("lab", "up", self.folder + "/objects", "--name", self.name, "--interception", given.interception,
                      "--bin-dir", self.folder + "/bin", "--timeout", "60", *flags, timeout=100)
        except (AssertionError, subprocess.TimeoutExpired):
            self.show_logs()
            raise

    def _ended_early(self, number, _frame):
        print(f"FAILED: ended by signal {number}", flush=True)
        self.down()
        os._exit(1)

    def _write_programs(self, given):
        os.makedirs(self.folder + "/bin")
        os.makedirs(self.folder + "/gates")
        os.symlink(self.bin_dir + "/heddle-cni", self.folder + "/bin/heddle-cni")
        for name in ("agent", "proxy", "control"):
            path = f"{self.folder}/bin/heddle-{name}"
            with open(path, "w", encoding="utf-8") as file:
                file.write('#!/bin/sh\nfor word; do [ "$last" = --node-name ] && node=$word; last=$word; done\n'
                           f'while [ -e "{self.folder}/gates/{name}-$node" ]; do sleep 0.05; done\n'
                           f'exec {given.proxy_bin_dir if name == "proxy" else self.bin_dir}/heddle-{name} "$@"\n')
            os.chmod(path, 0o755)

    def _run(self, *words, timeout=60.0, check=True):
        done = subprocess.run([self.heddle, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"heddle {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def down(self):
        if not self.folder:
            return
        for child in self.children:
            if child.poll() is None:
                child.kill()
        for attempt in range(2):
            try:
                self._run("lab", "down", self.name)
                break
            except (AssertionError, subprocess.TimeoutExpired) as error:
                print(f"lab down, attempt {attempt + 1}: {error}")
        if os.environ.get("HEDDLE_E2E_KEEP"):
            print("kept: " + self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = ""

    # ---- what is up

    def ask_daemon(self, question):
        """One request to the lab's daemon; documents travel in memory files."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(20)
            connection.connect(self.root + "/lab.sock")
            request = os.memfd_create("request", os.MFD_CLOEXEC)
            os.write(request, json.dumps(question).encode())
            socket.send_fds(connection, [b"json"], [request])
            os.close(request)
            _, fds, _, _ = socket.recv_fds(connection, 16, 1)
            with open(f"/proc/self/fd/{fds[0]}", encoding="utf-8") as file:
                answer = json.loads(file.read())
            os.close(fds[0])
            return answer

    def status(self):
        return self.ask_daemon({"op": "status"})

    def pod(self, name):
        found = [pod for pod in self.status()["pods"] if pod["name"] == name]
        if not found:
            raise AssertionError("no pod " + name)
        return found[0]

    def ip(self, name):
        return self.pod(name)["ips"][0]

    def node_netns(self, node):
        return f"{self.root}/netns/node-{node}"

    def run_dir(self, node):
        return f"{self.root}/nodes/{node}/run"

    def agent_state(self, node):
        text = unix_get(self.run_dir(node) + "/agent/admin.sock", "/state")
        return json.loads(text) if text else None

    def proxy_get(self, node, page):
        return unix_get(self.run_dir(node) + "/proxy/admin.sock", page)

    def proxy_state(self, node):
        text = self.proxy_get(node, "/state")
        return json.loads(text) if text else None

    def metrics(self, node, who="proxy"):
        """[(name, {label: value}, value)] of a node's proxy or agent."""
        out = []
        for line in (unix_get(f"{self.run_dir(node)}/{who}/admin.sock", "/metrics") or "").splitlines():
            if not line or line[0] == "#":
                continue
            left, _, value = line.rpartition(" ")
            name, _, labels = left.partition("{")
            pairs = dict(part.split("=", 1) for part in labels.rstrip("}").split('",') if "=" in part)
            out.append((name, {key.strip(): text.strip('"') for key, text in pairs.items()}, float(value)))
        return out

    # ---- programs

    def command(self, *words):
        """`heddle lab WORDS` for this lab."""
        return self._run("lab", *words, "--name", self.name)

    def pid(self, program, node=""):
        """0 while it is between two lives or held."""
        for entry in self.status()["programs"]:
            if entry["name"] == program and entry["node"] == node and entry["pid"] > 0:
                try:
                    exe = os.readlink(f"/proc/{entry['pid']}/exe")
                except OSError:
                    return 0
                return entry["pid"] if exe.endswith("heddle-" + program) else 0
        return 0

    def hold(self, program, node=""):
        with open(f"{self.folder}/gates/{program}-{node}", "w", encoding="ascii"):
            pass

    def release(self, program, node=""):
        os.unlink(f"{self.folder}/gates/{program}-{node}")

    def kill(self, program, node=""):
        pid = eventually(f"{program} of {node} runs", lambda: self.pid(program, node))
        # By way of the daemon, which then starts the next at once instead of backing off.
        answer = self.ask_daemon({"op": "restart", "program": program, "node": node, "kill": True})
        if "error" in answer:
            raise AssertionError(answer["error"])
        eventually(f"{program} {pid} is gone", lambda: not os.path.exists(f"/proc/{pid}"), 5, 0.005)
        return pid

    def restart(self, program, node=""):
        self._run("lab", "restart", program, *(("--node", node) if node else ()), "--name", self.name)

    def serving(self, node, pods=None):
        """Whether the node's agent has an active proxy that serves every meshed pod."""
        state = self.agent_state(node)
        if not state or not any(proxy["state"] == "active" for proxy in state["proxies"]):
            return False
        meshed = [pod for pod in state["pods"] if pod["meshed"]]
        if pods is not None and len(meshed) != pods:
            return False
        return all(pod["redirected"] and pod["proxy"] == "acknowledged" for pod in meshed)

    def wait_serving(self, *nodes):
        for node in nodes:
            eventually(f"{node} serves", lambda node=node: self.serving(node), 30)

    def log(self, program, node="", last=4000):
        """The last so many characters; 0: all."""
        path = f"{self.root}/logs/{node + '_' if node else ''}{program}.log"
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-last:]

    def show_logs(self):
        if not os.path.exists(self.root + "/logs"):
            return
        for name in ["../daemon.log"] + sorted(os.listdir(self.root + "/logs")):
            if not name.endswith(("_app.log", "_shell.log", "_nginx.log")):
                with open(f"{self.root}/logs/{name}", encoding="utf-8", errors="replace") as file:
                    print(f"--- {name}\n{file.read()[-3000:]}")

    # ---- processes in pods

    def start(self, pod, *command):
        """Runs a command as a process of the pod, in its container's cgroup and namespaces."""
        child = subprocess.Popen([self.heddle, "lab", "exec", pod, "--name", self.name, "--", *command],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.children.append(child)
        return child

    def python(self, pod, program, *words):
        return self.start(pod, PYTHON, PROGRAMS, program, *(str(word) for word in words))

    def finish(self, child, seconds=60.0):
        """The JSON document that one of our programs prints last."""
        try:
            out = child.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError(f"no end within {seconds} s: {child.args[-6:]}") from None
        lines = out.strip().splitlines()
        try:
            return json.loads(lines[-1])
        except (IndexError, json.JSONDecodeError):
            raise AssertionError(f"{child.args[-6:]} said:\n{out}") from None


class Controlled:
    """A program in a pod that runs until its stop file appears: signals would have to cross `lab exec`."""

    def __init__(self, lab, pod, program, *words):
        self.lab = lab
        self.stop_file = f"{lab.folder}/stop-{random.getrandbits(48):x}"
        self.progress_file = self.stop_file + ".progress"
        self.child = lab.python(pod, program, *words, "--stop", self.stop_file)

    def progress(self):
        try:
            with open(self.progress_file, encoding="ascii") as file:
                return json.loads(file.read() or "{}")
        except (OSError, json.JSONDecodeError):
            return {}

    def wait_for(self, key, count, seconds=20.0):
        """Until `key` has grown by `count`."""
        begin = self.progress().get(key, 0)
        eventually(lambda: f"{self.child.args[-8:]} {key} {begin} + {count}, at {self.progress()}",
                   lambda: self.progress().get(key, 0) >= begin + count or self.child.poll() is not None, seconds)

    def stop(self):
        with open(self.stop_file, "w", encoding="ascii"):
            pass
        return self.lab.finish(self.child)


def tcp_flows(capture):
    """First payload bytes of each direction of each TCP connection in a pcap file of tcpdump -i any (SLL, SLL2) or of
    one Ethernet device: {(source, port, destination, port): bytes}. A new SYN on the same four numbers begins anew and is
    a flow of its own. Fast enough for some 100,000 packets."""
    link = struct.unpack_from("<I", capture, 20)[0]
    skip_bytes = {1: 14, 113: 16, 276: 20}[link]
    kind_at = {1: 12, 113: 14, 276: 0}[link]
    flows, at = {}, 24
    while at + 16 <= len(capture):
        size = struct.unpack_from("<I", capture, at + 8)[0]
        frame = capture[at + 16:at + 16 + size]
        at += 16 + size
        if len(frame) < skip_bytes + 40:
            continue
        kind = frame[kind_at:kind_at + 2]
        if kind == b"\x08\x00":
            header = skip_bytes + (frame[skip_bytes] & 15) * 4
            total = skip_bytes + struct.unpack_from(">H", frame, skip_bytes + 2)[0]
            addresses = (frame[skip_bytes + 12:skip_bytes + 16], frame[skip_bytes + 16:skip_bytes + 20])
        elif kind == b"\x86\xdd":
            header = skip_bytes + 40
            total = header + struct.unpack_from(">H", frame, skip_bytes + 4)[0]
            addresses = (frame[skip_bytes + 8:skip_bytes + 24], frame[skip_bytes + 24:skip_bytes + 40])
        else:
            continue
        if len(frame) < header + 20:
            continue
        ports = struct.unpack_from(">HH", frame, header)
        flags = frame[header + 13]
        payload = frame[header + (frame[header + 12] >> 4) * 4:total if total > header else None]
        key = (addresses[0], ports[0], addresses[1], ports[1])
        if flags & 2:
            flows[key] = b""
        elif payload and len(flows.get(key, b"")) < 16:
            flows[key] = flows.get(key, b"") + payload[:64]
    return {(socket.inet_ntop(socket.AF_INET if len(k[0]) == 4 else socket.AF_INET6, k[0]), k[1],
             socket.inet_ntop(socket.AF_INET if len(k[2]) == 4 else socket.AF_INET6, k[2]), k[3]): data
            for k, data in flows.items()}


def run_cases(cases, given, lab=None, seconds=170):
    """Runs functions in order, names each with what it took; ends the process with 1 if one failed, or after `seconds`.
    The first failure shows what the lab's programs had to say."""
    signal.alarm(seconds)
    failed = 0
    for case in cases:
        if given.tests and case.__name__ not in given.tests:
            continue
        begin = time.monotonic()
        name = case.__name__.replace("_", " ")
        try:
            case()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            if lab and failed == 1:
                lab.show_logs()
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {name} after {time.monotonic() - begin:.1f} s", flush=True)
        else:
            print(f"ok {name} ({time.monotonic() - begin:.1f} s)", flush=True)
    sys.exit(1 if failed else 0)
