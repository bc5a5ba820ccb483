#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""While one floods, the others are served: each flood of docs/limits.md against the proxies of two nodes, by a meshed pod
(its own side of the proxy has to bear it) and by one without a mesh (the server's side), while a good pod asks servers of
both nodes. Not one of its requests fails, and the metrics name the pod whose connections were limited, and why.

Exit status: 0 passed, 1 failed, 77 cannot run here.
"""
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from e2e_lab import PROGRAMS, PYTHON, Lab, arguments, eventually, rss_kib, run_cases  # noqa: E402
from hostile_test import pod  # noqa: E402

FLOODS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floods.py")
PORT = 8000
ASKED = 10  # requests of the good pod during each flood
# Short enough to be met here, long enough for a loaded machine.
HURRY = ["--proxy-flag=--http-head-timeout=3s", "--proxy-flag=--http-stall-timeout=3s"]
LIMITS = '{heddle.io/max-connections: "250", heddle.io/max-requests: "250"}'
REFUSED, LIMITED = "heddle_pod_refused_total", "heddle_pod_limited_total"


# Speaks HTTP/2, but not before its client; /hold waits for content that never ends.
SINK = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
server {{ listen {port} http2; location / {{ return 200 "hello"; }} location /hold {{ proxy_pass http://127.0.0.1:1; }} }} }}
"""


def objects(folder):
    with open(folder + "/nginx.conf", "w", encoding="ascii") as file:
        file.write(SINK.format(folder=folder, port=PORT))
    sleep = "[sleep, infinity]"
    sink = f"[nginx, -c, {folder}/nginx.conf, -p, {folder}]"
    web = f'["{PYTHON}", "{PROGRAMS}", web, --port, "{PORT}", --name, web]'
    text = "".join(f"---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n" for name in ("n1", "n2"))
    text += "".join(f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, annotations: {{linkerd.io/inject: {inject}}}}}\n"
                    for name, inject in (("mesh", "enabled"), ("plain", "disabled")))
    return text + "".join(pod(name, space, node, name, annotations, command) for name, space, node, command, annotations in (
        ("good", "mesh", "n1", sleep, "{}"), ("flood", "mesh", "n1", sleep, LIMITS), ("outsider", "plain", "n1", sleep, "{}"),
        ("web", "mesh", "n2", web, "{}"), ("near-web", "mesh", "n1", web, "{}"), ("sink", "mesh", "n2", sink, LIMITS)))


class Floods:
    def __init__(self, given):
        self.sink = tempfile.TemporaryDirectory(prefix="heddle-floods-")
        self.lab = Lab(given, objects(self.sink.name), "floods", HURRY)
        self.lab.wait_serving("n1", "n2")
        self.seconds = given.seconds
        self.ips = {name: self.lab.ip(name) for name in ("web", "near-web", "sink")}
        self.proxies = {node: self.lab.pid("proxy", node) for node in ("n1", "n2")}
        self.rss = {node: rss_kib(pid) for node, pid in self.proxies.items()}
        self.good_stop = self.lab.folder + "/good-stop"
        self.good = self.start("good", "ask", hosts=[self.ips["web"], self.ips["near-web"]], port=PORT, stop=self.good_stop)
        eventually("the good pod is served", lambda: self.progress()["asked"] > ASKED)

    def start(self, who, name, **words):
        return self.lab.start(who, PYTHON, FLOODS, name, json.dumps(words))

    def progress(self):
        try:
            with open(self.good_stop + ".progress", encoding="ascii") as file:
                return json.load(file)
        except OSError:
            return {"asked": 0, "failures": []}

    def counted(self, node, metric, who, why):
        label = "reason" if metric == REFUSED else "limit"
        return sum(value for name, labels, value in self.lab.metrics(node)
                   if name == metric and labels.get("pod") == who and labels.get(label) == why)

    def flood(self, name, metric, why, whom="sink", attackers=("flood", "outsider"), **words):
        """Until every proxy that is flooded has named its pod, and the good one was served meanwhile."""
        named = {"flood": ("n1", "flood"), "outsider": ("n2", whom)}
        before = {who: self.counted(named[who][0], metric, named[who][1], why) for who in attackers}
        stop = f"{self.lab.folder}/{name}-stop"
        children = [self.start(who, name, host=self.ips[whom], port=PORT, stop=stop, **words) for who in attackers]
        begin, asked = time.monotonic(), self.progress()["asked"]
        for who in attackers:
            node, pod_name = named[who]
            eventually(f"{metric} of {pod_name} on {node} says {why}",
                       lambda node=node, pod_name=pod_name, who=who: self.counted(node, metric, pod_name, why) > before[who], 40)
            print(f"  {pod_name} named after {time.monotonic() - begin:.1f} s")
        eventually(lambda: f"the good pod is served meanwhile: {self.progress()}",
                   lambda: self.progress()["asked"] >= asked + ASKED and time.monotonic() - begin >= self.seconds,
                   40 + self.seconds)
        with open(stop, "w", encoding="ascii"):
            pass
        results = [self.lab.finish(child) for child in children]
        progress = self.progress()
        print(f"  {results}; {progress['asked'] - asked} requests of the good pod meanwhile, in {time.monotonic() - begin:.1f} s")
        if progress["failures"]:
            raise AssertionError(f"of a good pod's requests: {progress['failures']}")

    # ---- cases

    def rapid_reset(self):
        self.flood("rapid_reset", REFUSED, "flood")

    def continuation(self):
        self.flood("continuation", REFUSED, "flood")

    def settings(self):
        self.flood("settings", REFUSED, "flood")

    def ping(self):
        self.flood("ping", REFUSED, "flood")

    def window_update(self):
        self.flood("window_update", REFUSED, "flood")

    def huge_headers(self):
        self.flood("huge_headers", REFUSED, "too_large")

    def slowloris(self):
        self.flood("slowloris", REFUSED, "too_slow")

    def tiny_windows(self):
        self.flood("tiny_windows", REFUSED, "stalled")

    def half_open_streams(self):
        self.flood("half_open_streams", LIMITED, "requests")

    def connection_storm(self):
        self.flood("connection_storm", LIMITED, "connections")

    def handshakes(self):
        self.flood("handshakes", REFUSED, "handshake", "web", ("outsider",),
                   sni="web.mesh.serviceaccount.identity.heddle.cluster.local")

    def nobody_is_worse_for_it(self):
        with open(self.good_stop, "w", encoding="ascii"):
            pass
        result = self.lab.finish(self.good)
        print(f"  {result}")
        if result["failures"]:
            raise AssertionError(result["failures"])
        for node, pid in self.proxies.items():
            if self.lab.pid("proxy", node) != pid:
                raise AssertionError(f"the proxy of {node} ended: {self.lab.log('proxy', node)}")
            print(f"  proxy of {node}: RSS {self.rss[node]} to {rss_kib(pid)} KiB")
        blamed = {(labels.get("pod"), labels.get("reason")) for node in ("n1", "n2")
                  for name, labels, value in self.lab.metrics(node) if name == REFUSED and value}
        wrong = {each for each in blamed if each[0] in ("good", "near-web")}
        if wrong:
            raise AssertionError(f"refused for nothing: {wrong}")


def main():
    given = arguments(__doc__, {"--seconds": {"type": float, "default": 0, "help": "that each flood lasts at least"}})
    floods = Floods(given)
    run_cases([floods.rapid_reset, floods.continuation, floods.settings, floods.ping, floods.window_update, floods.huge_headers,
               floods.slowloris, floods.tiny_windows, floods.half_open_streams, floods.connection_storm, floods.handshakes,
               floods.nobody_is_worse_for_it], given, floods.lab, 170 + int(given.seconds) * 12)


if __name__ == "__main__":
    main()
