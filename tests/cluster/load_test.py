#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must hold under load in a real cluster: a running Deployment is enrolled and released, and agent, proxy and control
are replaced, while clients in and outside of the mesh ask without a pause. Nothing that they ask for fails; if something does,
the end of this test's output is what heddle's containers wrote around that moment.

Exit status: 0 passed, 1 failed.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import time

from container_logs import ContainerLogs, clock
from fixture import SECONDS, arguments, cluster_up
from installation import OLD, Installation

from e2e_lab import eventually, run_cases  # isort: skip

HERE = os.path.dirname(os.path.abspath(__file__))
GRACE = 8  # seconds that a replaced proxy's connections get
CLIENTS = {"client1": ("shop", "node1"), "client2": ("shop", "node2"), "outside": ("default", "node1")}
SERVERS = 4
ANSWERS = 25  # of each kind, for every client, after everything that was done
# This machine's Python in an image that has none.
POD = """
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: usr, hostPath: {path: /usr}}
      - {name: lib, hostPath: {path: /lib}}
      - {name: lib64, hostPath: {path: /lib64}}
      - {name: programs, hostPath: {path: %s}}
      containers:
      - name: main
        image: heddle.test/busybox:1
        command: [%s]
        volumeMounts:
        - {name: usr, mountPath: /usr, readOnly: true}
        - {name: lib, mountPath: /lib, readOnly: true}
        - {name: lib64, mountPath: /lib64, readOnly: true}
        - {name: programs, mountPath: /programs, readOnly: true}
"""
APPLICATION = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: lines, port: 9000}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {SERVERS}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: web}}}}
{POD % (HERE, "/usr/bin/python3, /programs/load_programs.py, serve")}"""
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
      nodeName: %s
"""
GIVEN = arguments(__doc__, rounds=(1, "how often proxies take over; from the second time on agents and proxies are replaced together "
                                      "before it"))
CLUSTER = cluster_up(2)
HEDDLE = Installation(CLUSTER, GIVEN.bin_dir)
LOGS = ContainerLogs(CLUSTER, "heddle")
PROXIES = ["heddle-proxy"]  # the DaemonSets of proxies so far; the last one is there
FAILURES = []  # of all clients
SHOWN = 3  # moments of failures that are explained


class Client:
    """A load client in a pod, asked by words on its standard input."""

    def __init__(self, name, namespace):
        self.name = name
        self.process = subprocess.Popen(
            CLUSTER.command(CLUSTER.build + "/bin/kubectl", "--kubeconfig", CLUSTER.kubeconfig(), "-n", namespace, "exec", "-i",
                            name, "--", "/usr/bin/python3", "/programs/load_programs.py", "load", HEDDLE.address_of("web", "shop")),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        return json.loads(self.process.stdout.readline() or '{"ended": true}')


class Explanation:
    """Everything that may say why requests failed: those of a moment together."""

    @staticmethod
    def show_logs():
        CLUSTER.show_logs()
        LOGS.end()
        moments = []
        for one in sorted(FAILURES, key=lambda one: one["ended"]):
            if not moments or one["ended"] - moments[-1][0]["ended"] > 1:
                moments.append([])
            moments[-1].append(one)
        for failures in moments[:SHOWN]:
            for one in failures:
                print(f"=== {clock(one['ended'])} {one['client']} from {one['who'] or '?'}: {one['what']}")
            LOGS.show(failures[0]["ended"], [one["who"] for one in failures if one["who"]],
                      before=failures[0]["ended"] - min(one["began"] for one in failures) + 2)
        if not moments:
            LOGS.show(time.time(), [])


def pods(namespace, component=None):
    """Those that run; of heddle's, of one component."""
    selector = ("-l", "app.kubernetes.io/component=" + component) if component else ()
    return [pod for pod in CLUSTER.get("-n", namespace, "pods", *selector)["items"] if pod["status"]["phase"] == "Running"]


def ask_all(word):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        said = dict(zip(LOAD, pool.map(lambda client: client.ask(word), LOAD.values())))
    for name, one in said.items():
        FAILURES.extend(dict(failure, client=name) for failure in one.get("failures", []) + one.get("failed", []))
    return said


def unharmed():
    """Nothing that was asked for failed since this was last called, and each client goes on to get every kind of answer."""
    known = len(FAILURES)

    def counted():
        return {name: one["answered"] for name, one in ask_all("count").items()}
    before = counted()

    def goes_on(after):
        return FAILURES[known:] or all(after[name].get(kind, 0) >= before[name].get(kind, 0) + ANSWERS for name in LOAD
                                       for kind in ("http kept", "http new", "opaque kept", "opaque new"))
    eventually(lambda: f"answers of each kind; before {before}, now {counted()}", lambda: goes_on(counted()), 60, 0.2)
    assert not FAILURES[known:], json.dumps(FAILURES[known:], indent=1)
    print(f"  {sum(sum(of_kind.values()) for of_kind in counted().values())} answers until now, none failed", flush=True)


def open_idle():
    for name, said in ask_all("idle").items():
        assert said == {"idle": 8}, (name, said)


def idle_answer(expected=8):
    """Connections that were opened before and not used since still carry requests, lines and their answers."""
    said = ask_all("probe")
    assert all(one == {"answered": expected, "ended": 0, "failed": []} for one in said.values()), json.dumps(said, indent=1)


def proxies_of(node):
    """The states of the node's proxies, as its agent says."""
    text = node.run("curl", "-s", "-m", "5", "--unix-socket", "/run/heddle/agent/admin.sock", "http://agent/state", check=False)
    return sorted(proxy["state"] for proxy in json.loads(text)["proxies"]) if text else []


def replaced(*workloads):
    for workload in workloads:
        CLUSTER.kubectl("-n", "heddle", "rollout", "status", workload, "--timeout=120s", timeout=130)


def a_load_that_nothing_disturbs_has_no_failures():
    unharmed()


def a_running_deployment_is_enrolled():
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject=enabled")
    eventually(lambda: f"all are meshed, not only {HEDDLE.meshed('shop')}", lambda: len(HEDDLE.meshed("shop")) == SERVERS + 2, 60, 0.5)
    unharmed()


def agents_and_control_are_replaced():
    open_idle()
    CLUSTER.kubectl("-n", "heddle", "rollout", "restart", "daemonset/heddle-agent", "deployment/heddle-control")
    replaced("daemonset/heddle-agent", "deployment/heddle-control")
    idle_answer()
    unharmed()


def everything_is_upgraded_with_a_changed_setting():
    open_idle()
    before = {pod["metadata"]["name"] for pod in pods("heddle", "proxy")}
    # It asks kubectl what was chosen at the installation.
    CLUSTER.apply(CLUSTER.run("env", "KUBECONFIG=" + CLUSTER.kubeconfig(), f"PATH={CLUSTER.build}/bin:/usr/bin:/bin",
                              GIVEN.bin_dir + "/heddle", "upgrade", *OLD, "--log-level", "trace"))
    eventually("a proxy is told to end", lambda: any(pod["metadata"].get("deletionTimestamp") for pod in pods("heddle", "proxy")
                                                     if pod["metadata"]["name"] in before), 60, 0.05)
    idle_answer()
    replaced("daemonset/heddle-agent", "daemonset/heddle-proxy", "deployment/heddle-control")
    assert not before & {pod["metadata"]["name"] for pod in pods("heddle", "proxy")}
    unharmed()


def a_proxy_that_surges_takes_over_while_the_old_one_lives():
    """Servers before 1.21 know no maxSurge: a second DaemonSet makes the same overlap, on all nodes at once."""
    open_idle()
    old = PROXIES[-1]
    surge = CLUSTER.get("-n", "heddle", "daemonset", old)
    labels = surge["spec"]["selector"]["matchLabels"], surge["spec"]["template"]["metadata"]["labels"]
    component = labels[0]["app.kubernetes.io/component"]
    for each in labels:
        each["app.kubernetes.io/component"] = f"proxy-surge-{len(PROXIES)}"
    PROXIES.append(f"heddle-proxy-surge-{len(PROXIES)}")
    surge["metadata"] = {"name": PROXIES[-1], "namespace": "heddle"}
    del surge["status"]
    CLUSTER.apply(json.dumps(surge))
    eventually(lambda: f"the old proxies drain: {[proxies_of(node) for node in CLUSTER.nodes.values()]}",
               lambda: all(proxies_of(node) == ["active", "draining"] for node in CLUSTER.nodes.values()), 60, 0.05)
    idle_answer()
    CLUSTER.kubectl("-n", "heddle", "delete", "daemonset", old, "--wait=false")
    # A signal does not hurry the drain. Connections of HTTP were told to go elsewhere with their last answer.
    idle_answer(expected=4)
    replaced("daemonset/" + PROXIES[-1])
    eventually("the old proxies are gone", lambda: not pods("heddle", component), 60)
    unharmed()


def agents_and_proxies_are_replaced_together():
    both = "daemonset/heddle-agent", "daemonset/" + PROXIES[-1]
    CLUSTER.kubectl("-n", "heddle", "rollout", "restart", *both)
    replaced(*both)
    unharmed()


def released():
    """Pods whose events say so: everything of the release is done then but the end of what they had."""
    events = CLUSTER.get("-n", "shop", "events", "--field-selector", "reason=HeddleReleased")["items"]
    return {event["involvedObject"]["name"] for event in events}


def a_running_deployment_is_released():
    open_idle()
    CLUSTER.kubectl("annotate", "namespace", "shop", "linkerd.io/inject-")
    eventually(lambda: f"all are released, not only {released()}", lambda: len(released()) == SERVERS + 2, 60, 0.1)
    assert not HEDDLE.meshed("shop")
    said = ask_all("probe")
    # Bytes go on; a connection of HTTP is answered once more, or was ended in order before.
    assert all(not one["failed"] and one["answered"] >= 4 for one in said.values()), json.dumps(said, indent=1)
    unharmed()
    unharmed()  # also when the proxies have let go of the pods' listeners, 2 s later


def prepare():
    HEDDLE.load_image()
    sleeping = POD % (HERE, "sleep, infinity")
    CLUSTER.apply("---".join([APPLICATION] + [CLIENT % (name, *where) + sleeping for name, where in CLIENTS.items()]))
    HEDDLE.install("--log-level", "debug", "--set", f"proxy.shutdownGraceSeconds={GRACE}")
    eventually("the application runs", lambda: len(pods("shop")) == SERVERS + 2 and pods("default"), 60, 0.5)


if __name__ == "__main__":
    prepare()
    LOAD = {name: Client(name, namespace) for name, (namespace, _) in CLIENTS.items()}
    AGAIN = [agents_and_proxies_are_replaced_together, a_proxy_that_surges_takes_over_while_the_old_one_lives]
    run_cases([a_load_that_nothing_disturbs_has_no_failures, a_running_deployment_is_enrolled, agents_and_control_are_replaced,
               everything_is_upgraded_with_a_changed_setting, a_proxy_that_surges_takes_over_while_the_old_one_lives,
               *AGAIN * (GIVEN.rounds - 1), a_running_deployment_is_released], GIVEN, Explanation, SECONDS * GIVEN.rounds)
    sys.exit(1)
