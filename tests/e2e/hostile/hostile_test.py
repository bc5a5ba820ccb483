#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a hostile pod, or a process of the node without rights, must not get.

The pods: mallory is meshed and root with every capability, outsider has no mesh at all. guarded takes authenticated
clients only, open takes everybody; both say in their answers which client the mesh named to them, and both have a twin
beside mallory (near-...) for what is joined within one proxy. elsewhere is a server without a mesh.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import concurrent.futures
import json
import os
import random
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from e2e_lab import (PROGRAMS, PYTHON, Controlled, Lab, arguments, cpu_seconds, eventually, fd_count, rss_kib,  # noqa: E402
                     run_cases)

ATTACKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks.py")
IDENTITY = "{}.{}.serviceaccount.identity.heddle.cluster.local"
MALLORY = IDENTITY.format("mallory", "evil")
ALICE = IDENTITY.format("alice", "bank")
PORT = 8000


def pod(name, namespace, node, account, annotations="{}", command=None):
    command = command or f'["{PYTHON}", "{PROGRAMS}", web, --port, "{PORT}", --name, {name}]'
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}, annotations: {annotations}}}
spec:
  nodeName: {node}
  serviceAccountName: {account}
  containers:
    - name: app
      command: {command}
      readinessProbe: {{exec: {{command: ["true"]}}}}
"""


def objects():
    sleep = "[sleep, infinity]"
    guard = "{config.linkerd.io/default-inbound-policy: all-authenticated}"
    nodes = "".join(f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n" for name in ("n1", "n2"))
    spaces = "".join(f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, annotations: "
                     f"{{linkerd.io/inject: {inject}}}}}\n"
                     for name, inject in (("evil", "enabled"), ("bank", "enabled"), ("plain", "disabled")))
    return (nodes + spaces + pod("mallory", "evil", "n1", "mallory", command=sleep) +
            pod("alice", "bank", "n1", "alice", command=sleep) + pod("outsider", "plain", "n1", "default", command=sleep) +
            pod("guarded", "bank", "n2", "bob", guard) + pod("open", "bank", "n2", "bob") +
            pod("near-guarded", "bank", "n1", "bob", guard) + pod("near-open", "bank", "n1", "bob") +
            pod("elsewhere", "plain", "n2", "default") +
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: guarded, namespace: bank}\n"
            f"spec: {{selector: {{app: guarded}}, ports: [{{port: 80, targetPort: {PORT}}}]}}\n")


class Hostile:
    def __init__(self, given):
        self.lab = Lab(given, objects(), "hostile")
        self.lab.wait_serving("n1", "n2")
        self.interception = given.interception
        self.ips = {name: self.lab.pod(name)["ips"] for name in
                    ("mallory", "alice", "outsider", "guarded", "open", "near-guarded", "near-open", "elsewhere")}
        self.proxies = {node: self.lab.pid("proxy", node) for node in ("n1", "n2")}
        self.agents = {node: self.lab.pid("agent", node) for node in ("n1", "n2")}
        for name in ("guarded", "open", "near-guarded", "near-open"):
            eventually(f"{name} answers alice", lambda name=name: "APP-REACHED" in self.ask("alice", name))

    def attack(self, who, name, **words):
        return self.lab.finish(self.start(who, name, **words))

    def start(self, who, name, **words):
        return self.lab.start(who, PYTHON, ATTACKS, name, json.dumps(words))

    def ask(self, who, whom, **more):
        host = more.pop("host", None) or self.ips[whom][0]
        return self.attack(who, "request", host=host, port=more.pop("port", PORT), **more)["answer"]

    def expect(self, fine, what, seen):
        if not fine:
            raise AssertionError(f"{what}: {seen}")

    def unharmed(self):
        """The same processes as in the beginning, and they serve."""
        for node in ("n1", "n2"):
            self.expect(self.lab.pid("proxy", node) == self.proxies[node], f"the proxy of {node} died", self.lab.log("proxy", node))
            self.expect(self.lab.pid("agent", node) == self.agents[node], f"the agent of {node} died", self.lab.log("agent", node))
        self.lab.wait_serving("n1", "n2")
        for name in ("guarded", "near-guarded"):
            answer = self.ask("alice", name)
            self.expect("client=" + ALICE + "\n" in answer.replace("\r", ""), f"alice is served by {name}", answer)

    @staticmethod
    def named(answer):
        return re.findall(r"APP-REACHED \S+ peer=\S+ client=(\S*)", answer)

    # ---- cases

    def nobody_is_believed_a_client_id(self):
        for name in ("open", "near-open", "guarded", "near-guarded"):
            for header in ("l5d-client-id", "L5D-Client-ID", "l5d-client-id "):
                answer = self.ask("mallory", name, headers=[f"{header}: {ALICE}"])
                self.expect(self.named(answer) in ([MALLORY], []), f"mallory at {name} with {header!r}", answer)
                if header != "l5d-client-id ":
                    self.expect(self.named(answer) == [MALLORY], f"mallory at {name} with {header!r}", answer)
                answer = self.ask("outsider", name, headers=[f"{header}: {ALICE}"])
                expected = [] if "guarded" in name or header.endswith(" ") else ["none"]
                self.expect(self.named(answer) in (expected, []), f"outsider at {name} with {header!r}", answer)
                if "guarded" not in name and header != "l5d-client-id ":
                    self.expect(self.named(answer) == ["none"], f"outsider at {name} with {header!r}", answer)
            answer = self.ask("mallory", name, headers=[f"Connection: l5d-client-id", f"l5d-client-id: {ALICE}",
                                                        f"l5d-client-id: {ALICE}"])
            self.expect(self.named(answer) in ([MALLORY], []), f"mallory at {name}, twice", answer)

    def an_app_may_name_its_destination_to_its_proxy(self):
        """http_proxy: absolute targets and CONNECT, to a service, to pods of both nodes and outside of the mesh. It is alice
        who asks then as ever, and nobody gets in by it who would not otherwise."""
        def curl(who, proxy, *words):
            child = self.lab.start(who, "env", "http_proxy=http://" + proxy, "no_proxy=", "curl", "-sS", "-m", "20", *words)
            return child.communicate(timeout=60)[0]

        near = [self.ips[name][0] for name in ("guarded", "near-guarded")]
        for proxy in ("127.0.0.1:4140", self.ips["alice"][0] + ":4140", "172.30.0.11:4140"):
            for way in ([], ["--proxytunnel"]):
                for place in ["guarded.bank.svc.cluster.local:80"] + [f"{host}:{PORT}" for host in near]:
                    answer = curl("alice", proxy, *way, f"http://{place}/")
                    self.expect(self.named(answer) == [ALICE], f"alice by {proxy} {way} at {place}", answer)
                answer = curl("alice", proxy, *way, f"http://{self.ips['elsewhere'][0]}:{PORT}/")
                self.expect(self.named(answer) == ["none"], f"alice by {proxy} {way} outside of the mesh", answer)
        answer = curl("mallory", "127.0.0.1:4140", "-H", f"l5d-client-id: {ALICE}", f"http://{near[0]}:{PORT}/")
        self.expect(self.named(answer) == [MALLORY], "mallory by its proxy", answer)
        for proxy in (self.ips["alice"][0] + ":4140", "172.30.0.11:4140"):
            answer = curl("outsider", proxy, f"http://{near[0]}:{PORT}/")
            self.expect(not self.named(answer), f"outsider by {proxy}", answer)

    def no_user_and_no_mark_gets_a_pod_around_the_mesh(self):
        seen = []
        # uid of this proxy, of Linkerd's; marks: of mesh sockets in other products, the agent's kind, random ones.
        for uid in (0, 65534, 2102):
            for mark in (0, 1, 0x1337, 0x200, 0xffffffff, random.getrandbits(32)):
                # Setting a mark needs a capability that goes with the uid.
                answer = self.ask("mallory", "open", **({"mark": mark} if mark else {"uid": uid}))
                seen.append(self.named(answer))
                self.expect(self.named(answer) == [MALLORY], f"uid {uid} mark {mark:#x}", answer)
        answer = self.ask("outsider", "guarded", mark=random.getrandbits(32))
        self.expect(not self.named(answer), "outsider with a mark at guarded", answer)
        print(f"  {len(seen)} tries, always mallory itself")

    def every_port_of_the_proxies_keeps_its_counsel(self):
        ports = [4140, 4143, 4191, 4195, PORT]
        node_ips = ["172.30.0.11", "172.30.0.12", "10.244.1.1"]
        for who in ("mallory", "outsider"):
            own = self.ips[who]
            hosts = own + ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:" + own[0], "127.9.9.9", "0.0.0.0"] + node_ips
            for name in ("guarded", "near-guarded", "open", "near-open"):
                hosts += self.ips[name] + ["::ffff:" + self.ips[name][0]]
            headers = [f"l5d-client-id: {ALICE}", f"l5d-dst-override: {self.ips['guarded'][0]}:{PORT}"]
            out = self.attack(who, "sweep", hosts=hosts, ports=ports, headers=headers)
            reached = 0
            for place, answer in out.items():
                host, port = place.split()
                names = self.named(answer)
                reached += bool(names)
                wrong = [name for name in names if name != (MALLORY if who == "mallory" else "none")]
                self.expect(not wrong, f"{who} at {place} was taken for somebody else", answer)
                if names:
                    self.expect(int(port) == PORT, f"{who} reached an app through a port of the proxy, {place}", answer)
                if who == "outsider":
                    self.expect("APP-REACHED guarded" not in answer and "APP-REACHED near-guarded" not in answer,
                                f"outsider reached a guarded app through {place}", answer)
            print(f"  {who}: {len(out)} places, {reached} answers of apps, all on their own port")
            for method, path in (("POST", "/loglevel"), ("POST", "/shutdown"), ("POST", "/drain"), ("GET", "/state"),
                                 ("GET", "/tap"), ("GET", "/explain"), ("GET", "/verify"), ("DELETE", "/")):
                out = self.attack(who, "sweep", hosts=node_ips[:2], ports=[4191, 4195], headers=[], method=method, path=path)
                for place, answer in out.items():
                    self.expect(not answer.startswith("HTTP/1.1 2"), f"{who}: {method} {path} at {place}", answer)
        self.unharmed()

    def a_pod_cannot_make_the_proxy_dial_itself(self):
        proxy = self.proxies["n1"]
        before = (fd_count(proxy), cpu_seconds(proxy))
        own = self.ips["mallory"]
        hosts = own + ["127.0.0.1", "::1", "::ffff:" + own[0], self.ips["near-open"][0], self.ips["open"][0]]
        child = self.start("mallory", "loops", hosts=hosts, ports=[4140, 4143], count=15, seconds=2.0)
        most = 0
        while child.poll() is None:
            most = max(most, fd_count(proxy))
            time.sleep(0.1)
        result = self.lab.finish(child)
        after = cpu_seconds(proxy)
        time.sleep(1)
        idle = cpu_seconds(proxy) - after
        print(f"  {result}; descriptors of the proxy {before[0]}, at most {most}; CPU {after - before[1]:.2f} s, "
              f"then {idle:.2f} s in a second of rest")
        self.expect(result["answered"] == 0, "an app answered on a listener's port", result)
        self.expect(most < before[0] + 4 * 15 * 2 * len(hosts), "descriptors", most)
        self.expect(after - before[1] < 5 and idle < 0.5, "it loops", (after - before[1], idle))
        self.unharmed()

    def forged_certificates_and_none_open_nothing(self):
        folder = self.lab.folder
        bob = IDENTITY.format("bob", "bank")
        # Everything a real leaf says, signed by nobody that anybody trusts.
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", f"{folder}/forged.key", "-out", f"{folder}/forged.crt", "-days", "2", "-subj", "/CN=" + ALICE,
                        "-addext", "subjectAltName=DNS:" + ALICE, "-addext",
                        "extendedKeyUsage=serverAuth,clientAuth"], check=True, capture_output=True)
        forged = {"certificate": f"{folder}/forged.crt", "key": f"{folder}/forged.key"}
        cases = [(who, whom, certificate, *way)
                 for who, whom in (("outsider", "guarded"), ("outsider", "near-guarded"), ("outsider", "open"),
                                   ("mallory", "guarded"))
                 for certificate in ({}, forged)
                 for way in (("heddle/1", "connect", PORT), ("heddle/1", "get", PORT), ("heddle/1", "connect", 4143),
                             ("transport.l5d.io/v1", "transport", 4143), ("", "plain", PORT), ("h2", "get", PORT),
                             ("transport.l5d.io/v1", "transport", PORT))]

        def attempt(case):
            who, whom, certificate, alpn, say, port = case
            result = self.attack(who, "tls", host=self.ips[whom][0], port=port, app_port=PORT, sni=bob, alpn=alpn, say=say,
                                 pretend=ALICE, **certificate)
            names = self.named(result["answer"])
            # Whoever is let in where everybody is, is nobody; through the mesh wire nobody gets in unnamed.
            fine = not names or (whom == "open" and names == ["none"] and say == "plain" and not certificate)
            return "" if fine else f"{case}: {result}"

        with concurrent.futures.ThreadPoolExecutor(14) as pool:
            bad = [text for text in pool.map(attempt, cases) if text]
        self.expect(not bad, "forged conversations that reached an app", bad)
        tries = len(cases)
        print(f"  {tries} forged conversations, nobody reached")
        self.unharmed()

    def forged_packets_reach_no_app(self):
        for source in ("alice", "guarded"):
            for whom in ("near-guarded", "guarded"):
                self.attack("mallory", "raw_syn", source=self.ips[source][0], host=self.ips[whom][0], port=PORT)
        self.unharmed()

    def unfinished_connections_stop_nobody_elses(self):
        proxies = self.proxies
        before = {node: (rss_kib(pid), fd_count(pid)) for node, pid in proxies.items()}
        stop = f"{self.lab.folder}/slow-stop"
        children = []
        for number, (who, whom) in enumerate((("outsider", "open"), ("mallory", "open"), ("outsider", "guarded"))):
            ready = f"{self.lab.folder}/slow-ready-{number}"
            children.append((self.start(who, "slow", host=self.ips[whom][0], ports=[PORT, 4143], count=600, seconds=30,
                                        ready=ready, stop=stop), ready))
        for _, ready in children:
            eventually("they are open", lambda ready=ready: os.path.exists(ready), 30)
        begin = time.monotonic()
        for _ in range(5):
            for name in ("guarded", "open", "near-open"):
                answer = self.ask("alice", name)
                self.expect(self.named(answer) == [ALICE], f"alice at {name} meanwhile", answer)
        took = (time.monotonic() - begin) / 15
        during = {node: (rss_kib(pid), fd_count(pid)) for node, pid in proxies.items()}
        with open(stop, "w", encoding="ascii"):
            pass
        results = [self.lab.finish(child) for child, _ in children]
        took_down = time.monotonic()
        print(f"  {results}; requests meanwhile {took * 1000:.0f} ms each (starting a process included)")
        for node in proxies:
            print(f"  proxy of {node}: RSS {before[node][0]} to {during[node][0]} KiB, descriptors {before[node][1]} to "
                  f"{during[node][1]}")
            self.expect(during[node][0] - before[node][0] < 100 * 1024, "memory", during)
        for node, pid in proxies.items():
            eventually(lambda pid=pid, node=node: f"descriptors come back: {fd_count(pid)}, were {before[node][1]}",
                       lambda pid=pid, node=node: fd_count(pid) <= before[node][1] + 80, 30)
        print(f"  their descriptors were back after {time.monotonic() - took_down:.1f} s")
        self.unharmed()

    def sockets_of_the_node_are_for_their_owners(self):
        run = self.lab.run_dir("n1")
        code = ("import os,socket,sys\nos.setgroups([]);os.setgid(int(sys.argv[2]));os.setuid(int(sys.argv[2]))\n"
                "s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if sys.argv[3]=='m' else socket.SOCK_STREAM)\n"
                "s.settimeout(3)\n"
                "try:\n s.connect(sys.argv[1]);s.send(b'GET /state HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n');print(s.recv(100))\n"
                "except OSError as e: print(type(e).__name__)")
        for path, uids, kind in (("agent/cni.sock", (1000, 65534), "m"), ("agent/proxy.sock", (1000,), "m"),
                                 ("agent/admin.sock", (1000, 65534), "s"), ("proxy/admin.sock", (1000,), "s")):
            for uid in uids:
                said = subprocess.run([PYTHON, "-c", code, f"{run}/{path}", str(uid), kind], stdout=subprocess.PIPE, text=True,
                                      cwd="/", check=False).stdout.strip()
                self.expect(said in ("PermissionError", "b''"), f"uid {uid} at {path}", said)
        for path in ("agent/pods.json",):
            mode = os.stat(f"{run}/{path}").st_mode & 0o777
            self.expect(mode == 0o600, path, oct(mode))
        for path in ("control/issuer.key", "control/root.key", "control/server.key", "nodes/n1/token"):
            mode = os.stat(f"{self.lab.root}/{path}").st_mode & 0o777
            self.expect(mode == 0o600, path, oct(mode))

    def malformed_messages_are_survived(self):
        run = self.lab.run_dir("n1")
        agent = self.agents["n1"]
        before = fd_count(agent)
        pods = len(self.lab.agent_state("n1")["pods"])
        random.seed(4)
        # Real beginnings, then noise: Hello, HeldEnd, PodAck and a CNI ADD of nothing, cut and flipped.
        seeds = [b"\x0a\x09\x0a\x050.1.0\x10\x01", b"\x1a\x02\x08\x00", b"\x22\x04\x08\x01\x10\x01", b"\x32\x06\x08\x01\x18\xc8\x01",
                 b"\x08\x01\x12\x04evil\x1a\x0e/proc/self/ns/\x22\x04eth0", b"\x08\x04", b"\x08\x05", b""]
        for path in ("agent/cni.sock", "agent/proxy.sock"):
            for attempt in range(60):
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                    connection.settimeout(3)
                    connection.connect(f"{run}/{path}")
                    for _ in range(attempt % 3 + 1):
                        message = bytearray(random.choice(seeds) + os.urandom(random.choice((0, 0, 3, 200, 60000))))
                        for _ in range(random.randrange(3)):
                            if message:
                                message[random.randrange(len(message))] ^= 1 << random.randrange(8)
                        files = [os.open("/dev/null", os.O_RDONLY) for _ in range(random.choice((0, 0, 1, 2, 20)))]
                        try:
                            socket.send_fds(connection, [bytes(message)], files)
                        except OSError:
                            pass
                        finally:
                            for file in files:
                                os.close(file)
        # Streams of nonsense at the HTTP sockets.
        for path in ("agent/admin.sock", "proxy/admin.sock"):
            for attempt in range(20):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(3)
                    try:
                        connection.connect(f"{run}/{path}")  # EAGAIN while its queue is full of the ones before
                        connection.sendall((b"GET /" if attempt % 2 else b"") + os.urandom(random.choice((10, 5000))) + b"\r\n\r\n")
                    except OSError:
                        pass
        eventually(lambda: f"descriptors of the agent as before: {fd_count(agent)}, were {before}",
                   lambda: fd_count(agent) <= before, 20)
        self.expect(len(self.lab.agent_state("n1")["pods"]) == pods, "pods", self.lab.agent_state("n1")["pods"])
        self.unharmed()

    def the_proxies_metrics_name_nobody_wrongly(self):
        """What the servers' proxies count: every client of mallory's and alice's is one of these two or nobody."""
        names = set()
        for node in ("n1", "n2"):
            for name, labels, _ in self.lab.metrics(node):
                if name in ("tcp_open_total", "request_total", "response_total") and labels.get("client_id"):
                    names.add(labels["client_id"])
        print(f"  clients named: {sorted(names)}")
        self.expect(names and names <= {ALICE, MALLORY, "default.plain.serviceaccount.identity.heddle.cluster.local"} and
                    ALICE in names and not any("plain" in name for name in names), "clients named", names)


def main():
    given = arguments(__doc__)
    hostile = Hostile(given)
    run_cases([
        hostile.nobody_is_believed_a_client_id,
        hostile.an_app_may_name_its_destination_to_its_proxy,
        hostile.no_user_and_no_mark_gets_a_pod_around_the_mesh,
        hostile.every_port_of_the_proxies_keeps_its_counsel,
        hostile.a_pod_cannot_make_the_proxy_dial_itself,
        hostile.forged_certificates_and_none_open_nothing,
        hostile.forged_packets_reach_no_app,
        hostile.unfinished_connections_stop_nobody_elses,
        hostile.sockets_of_the_node_are_for_their_owners,
        hostile.malformed_messages_are_survived,
        hostile.the_proxies_metrics_name_nobody_wrongly,
    ], given, hostile.lab)


if __name__ == "__main__":
    main()
