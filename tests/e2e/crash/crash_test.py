#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every program of heddle killed with signal 9 under load, in every order.

Throughout, every interface of both nodes is captured. At the end no packet holds the word that enrolled pods send, and
no connection to or from an enrolled pod carries anything but TLS. A third pod without heddle keeps dialling an app that
takes authenticated clients only: one answer would mean a way around the proxy.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from e2e_lab import (PROGRAMS, PYTHON, Capture, Controlled, Lab, arguments, eventually, fd_count, run_cases,  # noqa: E402
                     tcp_flows)

SECRET = f"heddle-secret-{random.getrandbits(64):016x}"
OUTSIDER = f"heddle-outsider-{random.getrandbits(64):016x}"


def server(name, node, port, annotations="{}"):
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: crash, labels: {{app: {name}}}, annotations: {annotations}}}
spec:
  nodeName: {node}
  containers:
    - name: app
      command: ["{PYTHON}", "{PROGRAMS}", echo, --port, "{port}", --name, {name}]
      readinessProbe: {{exec: {{command: ["true"]}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: crash}}
spec: {{selector: {{app: {name}}}, ports: [{{port: {port}}}]}}
"""


OBJECTS = """apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
---
apiVersion: v1
kind: Namespace
metadata: {name: crash, annotations: {linkerd.io/inject: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: plain, annotations: {linkerd.io/inject: disabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: crash}
spec: {nodeName: n1, containers: [{name: shell, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: plain}
spec: {nodeName: n1, containers: [{name: shell, command: [sleep, infinity]}]}
""" + server("far", "n2", 7000) + server("near", "n1", 7001) + server(
    "guarded", "n2", 7002, '{config.linkerd.io/default-inbound-policy: all-authenticated}') + f"""---
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: crash, labels: {{app: web}}}}
spec:
  nodeName: n2
  containers:
    - name: nginx
      command: [nginx, -c, /mnt/nginx/nginx.conf]
      readinessProbe: {{httpGet: {{path: /, port: 8080}}}}
      volumeMounts: [{{name: config, mountPath: /mnt/nginx}}]
  volumes: [{{name: config, configMap: {{name: web}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: crash}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: web, namespace: crash}}
data:
  nginx.conf: |
    daemon off;
    worker_processes 1;
    pid /dev/null;
    error_log stderr;
    events {{}}
    http {{
      access_log off;
      keepalive_requests 1000000;
      server {{ listen 8080; listen [::]:8080; location / {{ return 200 "answer\\n"; }} }}
    }}
"""


class Crash:
    def __init__(self, given):
        self.lab = Lab(given, OBJECTS, "crash", ("--default-inject", "enabled"))
        self.lab.wait_serving("n1", "n2")
        self.ips = {name: self.lab.pod(name)["ips"] for name in ("client", "far", "near", "guarded", "web", "outsider")}
        self.captures = [Capture(self.lab, node) for node in ("n1", "n2")]
        # The way in for somebody without a certificate: it must never be found.
        self.intruder = Controlled(self.lab, "outsider", "short", "--host", self.ips["guarded"][0], "--port", 7002,
                                   "--marker", OUTSIDER, "--timeout", 5, "--pause", 0.05)
        self.intruder.wait_for("failed", 3)

    def load_http(self, *more):
        program = os.path.join(self.lab.bin_dir, "heddle-lab-load")
        return self.lab.start("client", program, "http://web.crash/" + SECRET, "-t", "60", *more)

    def end_http(self, child):
        """`lab exec` hands a signal on to nobody, so the load itself is told to end."""
        found = subprocess.run(["pgrep", "-P", str(child.pid), "-f", "heddle-lab-load"], stdout=subprocess.PIPE, text=True,
                               check=False).stdout.split()
        for pid in found:
            os.kill(int(pid), 15)
        return self.lab.finish(child)

    def new_connections(self, host="far", port=7000, **more):
        words = [word for key, value in more.items() for word in ("--" + key, value)]
        return Controlled(self.lab, "client", "short", "--host", self.ips[host][0], "--port", port, "--marker", SECRET,
                          *words)

    def kept(self, host="far", port=7000):
        return Controlled(self.lab, "client", "stream", "--host", self.ips[host][0], "--port", port, "--marker", SECRET)

    def expect_clean(self, what, *results):
        for result in results:
            if result["failed"] or not result["ok"]:
                raise AssertionError(f"{what}: {json.dumps(result)}")

    def under_load(self, what, disturb):
        """Kept and new connections, bytes and HTTP, between the nodes and within one: none may fail."""
        kept = [self.kept(), self.kept("near", 7001)]
        new = [self.new_connections(), self.new_connections("near", 7001)]
        http = [self.load_http("-c", "2", "--rate", "50"), self.load_http("-c", "2", "--rate", "50", "--per-request")]
        for load in kept + new:
            load.wait_for("ok", 5)
        disturb()
        for load in kept + new:
            load.wait_for("ok", 10)
        results = [load.stop() for load in kept + new] + [self.end_http(child) for child in http]
        print(f"  {what}: " + ", ".join(str(result["ok"]) for result in results) +
              " answers (kept far, near; new far, near; HTTP kept, new), none failed" if not any(
                  result["failed"] for result in results) else f"  {what}: {json.dumps(results)}")
        self.expect_clean(what, *results)

    # ---- cases

    def the_agents_death_and_return_harm_no_connection(self):
        def disturb():
            for node in ("n1", "n2"):
                self.lab.hold("agent", node)
                self.lab.kill("agent", node)
            time.sleep(2)  # more connections than the proxies hold sockets for
            for node in ("n1", "n2"):
                self.lab.release("agent", node)
            self.lab.wait_serving("n1", "n2")
        self.under_load("agents killed", disturb)

    def an_agents_orderly_restart_harms_no_connection(self):
        def disturb():
            self.lab.restart("agent")
            self.lab.wait_serving("n1", "n2")
        self.under_load("agents restarted", disturb)

    def controls_death_harms_no_connection(self):
        def disturb():
            self.lab.hold("control")
            self.lab.kill("control")
            time.sleep(0.5)
            self.lab.release("control")
            eventually("control runs", lambda: self.lab.pid("control"))
        self.under_load("control killed", disturb)

    def an_upgrade_of_the_proxies_harms_no_connection(self):
        self.under_load("proxies replaced", lambda: self.lab.restart("proxy"))

    def a_proxy_that_ends_does_not_wait_for_ever_for_an_agent_that_is_stuck(self):
        agent, proxy = self.lab.pid("agent", "n1"), self.lab.pid("proxy", "n1")
        os.kill(agent, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            os.kill(proxy, signal.SIGTERM)
            eventually(f"proxy {proxy} is gone", lambda: not os.path.exists(f"/proc/{proxy}"))
            print(f"  gone after {time.monotonic() - begin:.1f} s")
        finally:
            os.kill(agent, signal.SIGCONT)
        self.lab.wait_serving("n1")
        self.under_load("afterwards", lambda: None)

    def connections_queued_while_the_clients_proxy_is_dead_are_served_by_the_next(self):
        self.queued("n1", "client", "far", 7000, SECRET)

    def connections_queued_while_the_servers_proxy_is_dead_are_served_by_the_next(self):
        self.queued("n2", "outsider", "far", 7000, OUTSIDER)

    def queued(self, node, pod, host, port, marker):
        self.lab.hold("proxy", node)
        kept = self.kept()
        kept.wait_for("ok", 3)
        self.lab.kill("proxy", node)
        child = self.lab.python(pod, "queue", "--host", self.ips[host][0], "--port", port, "--marker", marker,
                                "--connections", 30)
        time.sleep(1.0)
        if child.poll() is not None:
            raise AssertionError(f"they did not wait: {child.communicate()[0]}")
        self.lab.release("proxy", node)
        self.lab.wait_serving(node)
        result = self.lab.finish(child)
        print(f"  queued while {node}'s proxy was dead: {result}; its kept connection: {kept.stop()['error'] or 'lives'}")
        if result != {"ok": 30}:
            raise AssertionError(f"queued connections: {result}\n{self.lab.log('proxy', node)}")

    def everything_killed_comes_back_in_every_order(self):
        programs = [("agent", "n1"), ("proxy", "n1"), ("agent", "n2"), ("proxy", "n2"), ("control", "")]
        new = self.new_connections(timeout=3)
        for order in itertools.permutations(("agent", "proxy", "control")):
            for entry in programs:
                self.lab.hold(*entry)
            for entry in programs:
                self.lab.kill(*entry)
            for name in order:
                for entry in programs:
                    if entry[0] == name:
                        self.lab.release(*entry)
                for entry in programs:
                    if entry[0] == name:
                        eventually(f"{entry} runs", lambda entry=entry: self.lab.pid(*entry))
            begin = time.monotonic()
            self.lab.wait_serving("n1", "n2")
            new.wait_for("ok", 5, 30)
            print(f"  {' then '.join(order)}: served again {time.monotonic() - begin:.1f} s after the last")
        result = new.stop()
        print(f"  new connections meanwhile: {result['ok']} ok, {result['failed']} failed ({result['errors']})")
        self.under_load("afterwards", lambda: None)

    def a_plugin_killed_in_the_middle_of_add_leaves_nothing_after_del(self):
        agent = eventually("agent", lambda: self.lab.pid("agent", "n1"))
        before = self.lab.agent_state("n1")["pods"]
        descriptors = fd_count(agent)
        for attempt in range(8):
            netns = f"{self.lab.name}-{attempt}"
            subprocess.run(["ip", "netns", "add", netns], check=True)
            try:
                self.killed_add(netns, agent, attempt)
            finally:
                subprocess.run(["ip", "netns", "del", netns], check=False)
        pods = lambda: self.lab.agent_state("n1")["pods"]  # noqa: E731
        eventually(lambda: f"as before: {[pod['container_id'] for pod in pods()]}",
                   lambda: sorted(pod["container_id"] for pod in pods()) == sorted(pod["container_id"] for pod in before))
        eventually(lambda: f"descriptors of the agent as before: {fd_count(agent)}, were {descriptors}",
                   lambda: fd_count(agent) <= descriptors)
        self.lab.wait_serving("n1")

    def killed_add(self, netns, agent, attempt):
        subprocess.run(["ip", "-n", netns, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", netns, "addr", "add", f"10.244.1.{200 + attempt}/32", "dev", "lo"], check=True)
        config = {"cniVersion": "1.1.0", "name": "lab", "type": "heddle-cni", "runDir": self.lab.run_dir("n1"),
                  "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/" + netns}],
                                 "ips": [{"address": f"10.244.1.{200 + attempt}/32", "interface": 0}]}}
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": netns, "CNI_NETNS": "/run/netns/" + netns,
                       "CNI_IFNAME": "eth0", "CNI_PATH": self.lab.bin_dir, "CNI_ARGS": ""}
        held = attempt % 2 == 0
        if held:
            os.kill(agent, 19)
        try:
            plugin = subprocess.Popen([self.lab.bin_dir + "/heddle-cni"], env=environment, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
            plugin.stdin.write(json.dumps(config).encode())
            plugin.stdin.close()
            time.sleep(0.1 if held else random.uniform(0, 0.03))
            plugin.kill()
            plugin.wait()
        finally:
            if held:
                os.kill(agent, 18)
        done = subprocess.run([self.lab.bin_dir + "/heddle-cni"], env={**environment, "CNI_COMMAND": "DEL"},
                              input=json.dumps(config).encode(), stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise AssertionError("DEL: " + done.stdout.decode())
        left = subprocess.run(["ip", "netns", "exec", netns, "ss", "-Hltn"], stdout=subprocess.PIPE, text=True, check=False)
        eventually(f"no listener is left in {netns}: {left.stdout}",
                   lambda: not subprocess.run(["ip", "netns", "exec", netns, "ss", "-Hltn"], stdout=subprocess.PIPE,
                                              check=False).stdout)

    def nothing_was_readable_and_nobody_got_around_the_proxy(self):
        intruder = self.intruder.stop()
        print(f"  intruder: {intruder['failed']} attempts refused, {intruder['ok']} answered; {intruder['errors']}")
        if intruder["ok"]:
            raise AssertionError("an app that demands identities answered somebody without: around the proxy")
        outsider = {ip for ip in self.ips["outsider"]}
        meshed = {ip for name in self.ips if name != "outsider" for ip in self.ips[name]}
        nodes = {"10.244.1.1", "10.244.2.1", "fd00:10:244:1::1", "fd00:10:244:2::1"}
        seen_outsider = False
        for capture in self.captures:
            data = capture.stop()
            flows = tcp_flows(data)
            seen_outsider = seen_outsider or OUTSIDER.encode() in data
            clear = [(key, bytes_) for key, bytes_ in flows.items() if bytes_ and bytes_[0] not in (0x14, 0x15, 0x16, 0x17)
                     and key[0] in meshed and key[2] in meshed]
            # To the nodes' own addresses goes what their kubelet probes and what their proxy says to control.
            around = [(key, bytes_) for key, bytes_ in flows.items() if bytes_ and key[0] in meshed and
                      key[2] not in meshed and key[2] not in outsider and key[2] not in nodes and
                      not key[2].startswith(("172.30.", "fd00:172:30:"))]
            print(f"  {os.path.basename(capture.path)}: {len(data) >> 10} KiB, {len(flows)} directions of connections, "
                  f"{len(clear)} in clear between meshed pods, secret seen {data.count(SECRET.encode())} times")
            if SECRET.encode() in data or clear or around:
                raise AssertionError(f"in clear: {clear[:5]} {around[:5]} secret: {data.count(SECRET.encode())}")
        if not seen_outsider:
            raise AssertionError("the capture did not even see what a pod without heddle sent: it proves nothing")


def main():
    given = arguments(__doc__)
    crash = Crash(given)
    run_cases([
        crash.the_agents_death_and_return_harm_no_connection,
        crash.an_agents_orderly_restart_harms_no_connection,
        crash.controls_death_harms_no_connection,
        crash.connections_queued_while_the_clients_proxy_is_dead_are_served_by_the_next,
        crash.connections_queued_while_the_servers_proxy_is_dead_are_served_by_the_next,
        crash.an_upgrade_of_the_proxies_harms_no_connection,
        crash.a_proxy_that_ends_does_not_wait_for_ever_for_an_agent_that_is_stuck,
        crash.everything_killed_comes_back_in_every_order,
        crash.a_plugin_killed_in_the_middle_of_add_leaves_nothing_after_del,
        crash.nothing_was_readable_and_nobody_got_around_the_proxy,
    ], given, crash.lab)


if __name__ == "__main__":
    main()
