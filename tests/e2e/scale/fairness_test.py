#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod that floods, beside one that asks at a fixed rate through the same proxies: the good one fails no request, the
proxies stay within their memory and descriptors and say who was limited.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from e2e_lab import PYTHON, Lab, arguments, eventually, fd_count, rss_kib, run_cases  # noqa: E402

LOAD = os.path.join(HERE, "..", "..", "..", "tools", "benchmark", "fairness_load.py")
HTTP1, HTTP2 = 8000, 8001
MEMORY_MIB = 200
LIMITS = {"connections": 150, "requests": 50, "buffered_bytes": 4 << 20, "accept_rate": 200}
SECONDS = 3
DESCRIPTORS = 1500

CONF = """daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;
events {{ worker_connections 4000; }}
http {{
  access_log off; client_body_temp_path {folder}/{name}.b; keepalive_requests 1000000000; large_client_header_buffers 8 64k;
  server {{ listen 0.0.0.0:{http1}; location / {{ return 200 "ok\\n"; }} location /large {{ alias {folder}/large; }} }}
  server {{ listen 0.0.0.0:{http2} http2; location / {{ return 200 "ok\\n"; }} }}
}}
"""


def pod(name, node, command, annotations=""):
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: fair, annotations: {{{annotations}}}}}
spec: {{nodeName: {node}, containers: [{{name: app, command: {command}}}]}}
"""


def objects(folder):
    text = """apiVersion: v1
kind: Namespace
metadata: {name: fair, annotations: {linkerd.io/inject: enabled}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
"""
    limits = (f'heddle.io/max-connections: "{LIMITS["connections"]}", heddle.io/max-requests: "{LIMITS["requests"]}", '
              f'heddle.io/max-buffered-bytes: 4Mi, heddle.io/max-accepts-per-second: "{LIMITS["accept_rate"]}"')
    for name in ("good-server", "flood-server"):
        with open(f"{folder}/{name}.conf", "w", encoding="ascii") as file:
            file.write(CONF.format(folder=folder, name=name, http1=HTTP1, http2=HTTP2))
        text += pod(name, "n2", f"[nginx, -c, {folder}/{name}.conf]")
    with open(f"{folder}/large", "wb") as file:
        file.truncate(16 << 20)
    return text + pod("good", "n1", "[sleep, infinity]") + pod("flood", "n1", "[sleep, infinity]", limits) + pod(
        "greedy", "n1", "[sleep, infinity]")


class FewDescriptors(Lab):
    """A lab whose proxies may open few files."""

    def _write_programs(self, given):
        super()._write_programs(given)
        path = self.folder + "/bin/heddle-proxy"
        with open(path, encoding="utf-8") as file:
            script = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(script.replace("#!/bin/sh\n", f"#!/bin/sh\nulimit -n {DESCRIPTORS}\n"))


class Fairness:
    def __init__(self, given, folder):
        self.lab = FewDescriptors(given, objects(folder), "fair", [f"--proxy-flag=--max-memory={MEMORY_MIB}MiB"])
        self.lab.wait_serving("n1", "n2")
        self.servers = {name: self.lab.ip(name) for name in ("good-server", "flood-server")}
        self.ask(1)

    def ask(self, seconds):
        """What the good pod's client says of so many seconds."""
        return self.lab.start("good", PYTHON, LOAD, "ask", f"{self.servers['good-server']}:{HTTP1}", str(seconds))

    def limited(self, of):
        """{limit: times} of a pod, where it was limited; over both proxies."""
        out = {}
        for node in ("n1", "n2"):
            for name, labels, value in self.lab.metrics(node):
                if name == "heddle_pod_limited_total" and labels["pod"] == of and value:
                    out[labels["limit"]] = out.get(labels["limit"], 0) + value
        return out

    def beside(self, pod, kind, look=lambda: None):
        """Floods, while the good pod asks: which must not fail, and must not be limited."""
        port = HTTP2 if kind == "streams" else HTTP1
        flood = self.lab.start(pod, PYTHON, LOAD, kind, f"{self.servers['flood-server']}:{port}", str(SECONDS + 1))
        good = self.ask(SECONDS)
        while good.poll() is None:
            for node in ("n1", "n2"):
                used = rss_kib(self.lab.pid("proxy", node)) / 1024
                assert used < MEMORY_MIB, f"{kind}: the proxy of {node} uses {used:.0f} MiB"
            look()
            try:
                good.wait(.1)
            except Exception:  # pylint: disable=broad-except
                pass
        said = self.lab.finish(good)
        assert said["failed"] == 0 and said["ok"] > 0, (kind, said)
        flood.wait(30)
        for innocent in ("good", "good-server"):
            assert not self.limited(innocent), (kind, innocent, self.limited(innocent))
        print(f"   {kind}: p99 {said['p99_us']:.0f} us of {said['ok']} requests, limited: {self.limited(pod)}", flush=True)

    def new_connections_wait_and_nobody_else_does(self):
        self.beside("flood", "connections")
        assert self.limited("flood").get("accept_rate"), self.limited("flood")

    def slow_readers_have_so_many_connections_and_bytes(self):
        self.beside("flood", "slow")
        assert self.limited("flood").get("connections"), self.limited("flood")

    def large_heads_and_resets_fail_nobody_elses_request(self):
        self.beside("flood", "headers")
        self.beside("flood", "streams")

    def limits_are_shown(self):
        shown = {labels["limit"]: value for name, labels, value in self.lab.metrics("n1")
                 if name == "heddle_pod_limit" and labels["pod"] == "flood"}
        assert shown == LIMITS, shown

    def the_pod_that_takes_most_descriptors_sheds(self):
        proxy = self.lab.pid("proxy", "n1")
        seen = []

        def look():
            seen.append(fd_count(proxy))
            assert seen[-1] < DESCRIPTORS, seen

        self.beside("greedy", "slow", look)
        assert max(seen) > .75 * DESCRIPTORS, f"nothing was short: {seen}"
        assert self.limited("greedy").get("descriptors"), self.limited("greedy")
        shedding = lambda: [value for name, labels, value in self.lab.metrics("n1") if name == "heddle_pod_shedding"
                            and labels["pod"] == "greedy" and labels["limit"] == "descriptors"]
        eventually("the pod is served again", lambda: shedding() == [0])
        self.beside("greedy", "connections")


def main():
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="heddle-fair-") as folder:
        os.chmod(folder, 0o755)
        test = Fairness(given, folder)
        run_cases([test.limits_are_shown, test.new_connections_wait_and_nobody_else_does,
                   test.slow_readers_have_so_many_connections_and_bytes,
                   test.large_heads_and_resets_fail_nobody_elses_request, test.the_pod_that_takes_most_descriptors_sheds],
                  given, test.lab)


if __name__ == "__main__":
    main()
